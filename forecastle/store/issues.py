"""Issues and what changed in them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from uuid import UUID

from psycopg import sql

from forecastle.errors import NotFoundError
from forecastle.records.issues import OUTCOME_FIELDS, IssueChange, IssueRecord
from forecastle.store import tenants
from forecastle.store.database import Connection
from forecastle.store.ground_truth import derive_truths
from forecastle.store.identifiers import new_id

LOCK = 7_302_741_006  # one import at a time: two would hand out the same ordinals

CONTENT = (
    "time_basis", "created_at", "completed_at", "title", "description", "issue_type", "component", "priority",
    "reporter", "assignee", "story_points", "story_points_known_at", "effort_hours", "estimate_hours",
)  # fmt: skip


@dataclass(frozen=True)
class ImportCounts:
    """What an import did, in issues."""

    new: int
    changed: int
    unchanged: int


def content_digest(issue: IssueRecord) -> bytes:
    """What an import compares: equal digests mean that nothing changed."""
    text = "\x1f".join(repr(getattr(issue, name)) for name in CONTENT)
    if issue.changes:
        text += f"\x1f{issue.changes!r}"
    return hashlib.sha256(text.encode()).digest()


def import_issues(connection: Connection, issues: Sequence[IssueRecord]) -> ImportCounts:
    """Insert new issues, update changed ones, leave the rest; one statement each, after a COPY.

    Issues that exist keep their ordinal, new ones follow in the order given. Before an issue is updated, the
    value of every field that changes is kept in `issue_changes`. The dated changes that an issue brings are kept
    too, of fields of which no change is known yet. Outcomes that are new or corrected become ground truth of the
    predictions about their issues.
    """
    connection.execute("select pg_advisory_xact_lock(%s)", (LOCK,))
    workspace = tenants.default_workspace(connection)
    projects = tenants.ensure_projects(connection, workspace, (issue.project_key for issue in issues))
    names = {name for issue in issues for name in (issue.reporter, issue.assignee) if name}
    people = tenants.ensure_people(connection, workspace, names)
    _copy(connection, issues, projects, people)
    derive_truths(connection)
    connection.execute(_KEEP_HISTORY)
    changed = connection.execute(_UPDATE_CHANGED).rowcount
    new = connection.execute(_INSERT_NEW).rowcount
    _keep_changes(connection, issues)
    return ImportCounts(new=new, changed=changed, unchanged=len(issues) - new - changed)


def _copy(
    connection: Connection,
    issues: Iterable[IssueRecord],
    projects: dict[str, UUID],
    people: dict[str, UUID],
) -> None:
    connection.execute(
        "create temporary table incoming on commit drop as select id, project_id, key, 0::bigint as position, "
        "time_basis, created_at, completed_at, title, description, issue_type, component, priority, reporter_id, "
        "assignee_id, story_points, story_points_known_at, effort_hours, estimate_hours, content_digest "
        "from issues with no data"
    )
    with connection.cursor().copy("copy incoming from stdin") as copy:
        for position, issue in enumerate(issues):
            copy.write_row((
                new_id(), projects[issue.project_key], issue.key, position, issue.time_basis, issue.created_at,
                issue.completed_at, issue.title, issue.description or "", issue.issue_type, issue.component,
                issue.priority, people.get(issue.reporter or ""), people.get(issue.assignee or ""),
                issue.story_points, issue.story_points_known_at, issue.effort_hours, issue.estimate_hours,
                content_digest(issue),
            ))  # fmt: skip
    connection.execute("analyze incoming")


def _keep_changes(connection: Connection, issues: Iterable[IssueRecord]) -> None:
    connection.execute(
        "create temporary table incoming_changes (position bigint, field text, before text, after text, "
        "changed_at timestamptz) on commit drop"
    )
    with connection.cursor().copy("copy incoming_changes from stdin") as copy:
        for position, issue in enumerate(issues):
            for change in issue.changes:
                if change.changed_at is not None:
                    copy.write_row((position, change.field, change.before, change.after, change.changed_at))
    connection.execute(_KEEP_CHANGES)


_KEEP_HISTORY = """
insert into issue_changes (issue_id, field, before, after, changed_at)
select issues.id, change.field, change.before, change.after,
    -- Never before an earlier change: the clock may have been set back.
    greatest(now(), issues.created_at, (select max(changed_at) from issue_changes where issue_id = issues.id))
from issues join incoming using (project_id, key)
cross join lateral (values
    ('title', issues.title, incoming.title),
    ('description', issues.description, incoming.description),
    ('issue_type', issues.issue_type, incoming.issue_type),
    ('component', issues.component, incoming.component),
    ('priority', issues.priority, incoming.priority),
    ('reporter', (select name from people where id = issues.reporter_id),
                 (select name from people where id = incoming.reporter_id)),
    ('assignee', (select name from people where id = issues.assignee_id),
                 (select name from people where id = incoming.assignee_id)),
    ('story_points', issues.story_points::text, incoming.story_points::text),
    ('effort_hours', issues.effort_hours::text, incoming.effort_hours::text),
    ('estimate_hours', issues.estimate_hours::text, incoming.estimate_hours::text),
    ('completed_at', issues.completed_at::text, incoming.completed_at::text)
) as change (field, before, after)
where issues.content_digest <> incoming.content_digest and change.before is distinct from change.after
    -- An outcome that arrives changes nothing that was known before: its own moment says since when it is known.
    and not (change.before is null and change.field in ('story_points', 'effort_hours', 'completed_at'))
"""

_UPDATE_CHANGED = """
update issues set
    time_basis = incoming.time_basis, created_at = incoming.created_at, completed_at = incoming.completed_at,
    title = incoming.title, description = incoming.description, issue_type = incoming.issue_type,
    component = incoming.component, priority = incoming.priority, reporter_id = incoming.reporter_id,
    assignee_id = incoming.assignee_id, story_points = incoming.story_points,
    story_points_known_at = incoming.story_points_known_at, effort_hours = incoming.effort_hours,
    estimate_hours = incoming.estimate_hours, content_digest = incoming.content_digest, imported_at = now()
from incoming
where issues.project_id = incoming.project_id and issues.key = incoming.key
    and issues.content_digest <> incoming.content_digest
"""

_INSERT_NEW = """
insert into issues (id, project_id, key, ordinal, time_basis, created_at, completed_at, title, description,
    issue_type, component, priority, reporter_id, assignee_id, story_points, story_points_known_at, effort_hours,
    estimate_hours, content_digest)
select incoming.id, incoming.project_id, incoming.key,
    coalesce(last.ordinal, -1) + row_number() over (partition by incoming.project_id order by incoming.position),
    incoming.time_basis, incoming.created_at, incoming.completed_at, incoming.title, incoming.description,
    incoming.issue_type, incoming.component, incoming.priority, incoming.reporter_id, incoming.assignee_id,
    incoming.story_points, incoming.story_points_known_at, incoming.effort_hours, incoming.estimate_hours,
    incoming.content_digest
from incoming
left join (select project_id, max(ordinal) as ordinal from issues group by project_id) as last using (project_id)
where not exists (select from issues where issues.project_id = incoming.project_id and issues.key = incoming.key)
"""

_KEEP_CHANGES = """
insert into issue_changes (issue_id, field, before, after, changed_at)
select issues.id, change.field, change.before, change.after, change.changed_at
from incoming_changes as change join incoming using (position) join issues using (project_id, key)
where not exists (select from issue_changes as known where known.issue_id = issues.id and known.field = change.field)
order by change.position, change.changed_at
"""


@dataclass(frozen=True)
class Latest:
    """The latest issues that have an outcome: `target` is one of OUTCOME_FIELDS, `rows` how many of them at most."""

    target: str
    rows: int


def count_outcomes(connection: Connection, target: str, project: UUID | None = None) -> int:
    """How many issues have this outcome."""
    query = sql.SQL("select count({}) from issues where {}").format(_outcome(target), _OF_PROJECT)
    row = connection.execute(query, {"project": project}).fetchone()
    return int(row["count"]) if row else 0


def read_issues(
    connection: Connection, project: UUID | None = None, latest: Latest | None = None
) -> Iterator[IssueRecord]:
    """Every issue (of one project, where given) with its changes, by project and ordinal; the latest ones where asked.

    Latest by creation; by the relative position in the project, where some have no dates.
    """
    chosen = sql.SQL("select id from issues where {}").format(_OF_PROJECT) if latest is None else _latest(latest)
    arguments = {"project": project, "rows": latest.rows if latest else None}
    connection.execute(sql.SQL("create temporary table chosen on commit drop as {}").format(chosen), arguments)
    changes: dict[UUID, list[IssueChange]] = {}
    # A later import may say that an issue was made after a change that was seen: it was then changed at once.
    for row in connection.execute(
        "select issue_id, field, before, after, greatest(changed_at, issues.created_at) as changed_at from chosen "
        "join issue_changes on issue_id = chosen.id join issues on issues.id = issue_id "
        "order by changed_at, issue_changes.id"
    ):
        change = IssueChange(field=row["field"], before=row["before"], after=row["after"], changed_at=row["changed_at"])
        changes.setdefault(row["issue_id"], []).append(change)
    names = {item.name for item in fields(IssueRecord)} - {"changes"}
    with connection.cursor(name="read_issues") as cursor:
        cursor.itersize = 5_000
        cursor.execute(
            "select issues.*, projects.id::text as project_key, reporter.name as reporter, assignee.name as assignee "
            "from chosen join issues using (id) join projects on projects.id = issues.project_id "
            "left join people reporter on reporter.id = issues.reporter_id "
            "left join people assignee on assignee.id = issues.assignee_id "
            "order by projects.key, issues.ordinal"
        )
        for row in cursor:
            known = {name: row[name] for name in names}
            yield IssueRecord(**known, changes=tuple(changes.get(row["id"], ())))


_OF_PROJECT = sql.SQL("(%(project)s::uuid is null or project_id = %(project)s::uuid)")


def _latest(latest: Latest) -> sql.Composed:
    return sql.SQL("""
        select id from (
            select id, case when every(time_basis = 'date') over () then extract(epoch from created_at)::float8
                else percent_rank() over (partition by project_id order by
                    case time_basis when 'date' then created_at else 'epoch' end, ordinal)
                end as position
            from issues where {} is not null and {}
        ) as placed order by position desc limit %(rows)s
    """).format(_outcome(latest.target), _OF_PROJECT)


def _outcome(target: str) -> sql.Identifier:
    if target not in OUTCOME_FIELDS:
        raise NotFoundError(f"no outcomes are kept for {target}")
    return sql.Identifier(target)
