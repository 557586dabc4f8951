"""MLflow as far as cleaning up needs it: runs that nobody ends, and versions that nobody needs, with their files."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from forecastle.errors import NotFoundError
from forecastle.registry.tracking import PARENT, Tracking, every_page, mlflow_errors

ARCHIVED = "forecastle.archived"
"""The tag of a run that is to be deleted with its files; its value names the version that it was."""


@dataclass(frozen=True)
class RunningRun:
    """A run that MLflow shows as RUNNING, and that is nobody's child."""

    run_id: str
    name: str
    started_at: datetime


class Cleanup(Tracking):
    """MLflow at one address. Every method raises ServerError where it does not answer."""

    def running_runs(self, experiments: Collection[str]) -> list[RunningRun]:
        """Runs of these experiments that are RUNNING, without child runs."""
        with mlflow_errors():
            known = [self._client.get_experiment_by_name(name) for name in experiments]
            running = self._search([one.experiment_id for one in known if one], "attributes.status = 'RUNNING'")
        return [
            RunningRun(run.info.run_id, run.info.run_name, datetime.fromtimestamp(run.info.start_time / 1000, UTC))
            for run in running
            if PARENT not in run.data.tags
        ]

    def kill_run(self, run_id: str, reason: str) -> bool:
        """End a run and its child runs as KILLED with the reason; False where it has ended meanwhile.

        What it had registered is taken back, unless it serves.
        """
        with mlflow_errors():
            run = self._client.get_run(run_id)
            if run.info.status != "RUNNING":
                return False
            self._kill(run, reason)
        return True

    def archive_version(self, name: str, version: int) -> bool:
        """Mark the run of a version and delete the version; False where it has an alias, or is gone."""
        with suppress(NotFoundError), mlflow_errors():
            found = self._client.get_model_version(name, str(version))
            if found.aliases:
                return False
            if found.run_id:  # one that somebody registered by hand may have none
                self._client.set_tag(found.run_id, ARCHIVED, f"{name} version {version}")
            self._client.delete_model_version(name, str(version))
            return True
        return False

    def delete_archived_runs(self) -> int:
        """Delete the marked runs that no version names, with their files; returns how many.

        As `mlflow gc` it deletes files for good; the runs' figures stay in the database, in the stage `deleted`, until
        that command is typed.
        """
        with mlflow_errors():
            experiments = every_page(lambda token: self._client.search_experiments(page_token=token))
            marked = self._search([one.experiment_id for one in experiments], f"tags.`{ARCHIVED}` != ''")
            unnamed = [run for run in marked if not self._client.search_model_versions(f"run_id = '{run.info.run_id}'")]
            for run in unnamed:
                self._delete_files(run)
                for gone in (*self._children(run), run):  # the marked one last: until then it is found again
                    self._client.delete_run(gone.info.run_id)
        return len(unnamed)
