"""The `forecastle` command: every group of commands, and how errors leave it."""

from __future__ import annotations

import errno
import os
import sys

import click

from cli.lazy import LazyGroup
from forecastle import __version__
from forecastle.errors import ForecastleError


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    commands={
        "demo": ("cli.demonstration:demo", "Generate, validate, train, promote, ask the façade."),
        "up": ("cli.supervision:up", "Start all servers and keep them running; Ctrl-C stops them."),
        "down": ("cli.supervision:down", "Stop what `up` keeps running."),
        "status": ("cli.supervision:show_status", "Show how the servers are doing."),
        "logs": ("cli.supervision:logs", "Show what the servers say."),
        "doctor": ("cli.doctor:doctor", "Check everything that Forecastle stands on."),
        "env": ("cli.servers:env", "Print where the servers are, for eval."),
        "migrate": ("cli.servers:migrate_database", "Bring the database up to date."),
        "storage": ("cli.storage:storage", "Test whether files can be kept in S3."),
        "users": ("cli.users:users", "Add, disable and list users."),
        "generate": ("cli.data:generate", "Write synthetic data."),
        "import": ("cli.data:import_data", "Import files."),
        "projects": ("cli.data:projects_list", "List projects with their ids."),
        "train": ("cli.training:train", "Train a model type with mlflow run."),
        "score": ("cli.scoring:score", "Answer the rows of a file, or the open issues of a project."),
        "backup": ("cli.backup:backup", "Copy both databases and all files into a folder."),
        "restore": ("cli.backup:restore", "Bring a backup back into a new home."),
        "jobs": ("cli.jobs:jobs", "List, run, follow, retry and cancel jobs."),
        "notify": ("cli.notifications:notify", "List alerts, and try out e-mail and webhook."),
        "archive": ("cli.archive:archive", "Remove old versions that never served."),
        "models": ("cli.models:models", "List versions, compare them, move production, verify how it was moved."),
        "forget": ("cli.forgetting:forget", "Erase the text of a person or an issue."),
        "evaluate": ("cli.training:evaluate_model_type", "Walk a model type through files in order of time."),
    },
)
@click.version_option(__version__)
def forecastle() -> None:
    """Answers about delivery and reliability, from models that earned their place."""


def main() -> None:
    """Errors of ours are a sentence on standard error and exit code 1; wrong usage is exit code 2."""
    try:
        forecastle(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as leaving:
        sys.exit(leaving.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # whoever read it has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        click.echo("error: the disk is full: make room and do it again; `forecastle doctor` says where", err=True)
        sys.exit(1)
    except ForecastleError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
