"""Who may do what, and who is asking."""

from __future__ import annotations

import pytest

from forecastle.access.principals import (
    KEY_PREFIX,
    PERMISSIONS,
    Permission,
    Principal,
    Role,
    add_user,
    at_command_line,
    authenticate,
    disable_user,
    key_digest,
)
from forecastle.errors import (
    ConfigurationError,
    ConflictError,
    NotAllowedError,
    NotAuthenticatedError,
    NotFoundError,
)
from forecastle.store.database import Database

ALLOWED = {
    Role.VIEWER: {"read"},
    Role.MEMBER: {"read", "predict", "record outcomes"},
    Role.DATA_SCIENTIST: {"read", "predict", "record outcomes", "import", "train"},
    Role.REVIEWER: {"read", "predict", "promote"},
    Role.OPERATOR: {"read", "predict", "record outcomes", "import", "train"},
    Role.ADMIN: {"read", "predict", "record outcomes", "import", "train", "promote", "administer"},
}


def test_every_role_stands_in_the_table() -> None:
    assert set(PERMISSIONS) == set(ALLOWED) == set(Role)


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("permission", list(Permission))
def test_a_role_permits_what_the_table_says(role: Role, permission: Permission) -> None:
    somebody = Principal("sam", role)
    if permission in ALLOWED[role]:
        somebody.require(permission)
    else:
        with pytest.raises(NotAllowedError) as caught:
            somebody.require(permission)
        assert f"{role} may not {permission}" in str(caught.value)
        able = {each for each in Role if permission in ALLOWED[each]}
        assert set(str(caught.value).partition("one of: ")[2].split(", ")) == able


def test_nobody_who_trains_promotes_but_the_admin() -> None:
    both = {role for role, permitted in PERMISSIONS.items() if {Permission.TRAIN, Permission.PROMOTE} <= permitted}
    assert both == {Role.ADMIN}


def test_a_key_says_who_is_asking(database: Database) -> None:
    with database.transaction() as connection:
        key = add_user(connection, "rita", Role.REVIEWER)
        add_user(connection, "ada", Role.ADMIN)
        assert key.startswith(KEY_PREFIX)
        assert authenticate(connection, key) == Principal("rita", Role.REVIEWER, alone=False)


@pytest.mark.parametrize("key", ["", "fck_unknown", "rita"])
def test_an_unknown_key_is_refused_without_being_repeated(database: Database, key: str) -> None:
    with database.transaction() as connection:
        add_user(connection, "rita", Role.REVIEWER)
        with pytest.raises(NotAuthenticatedError, match="not known") as caught:
            authenticate(connection, key)
        with pytest.raises(NotAuthenticatedError):
            at_command_line(connection, key)
    assert "fck_unknown" not in str(caught.value)


def test_keys_are_kept_as_digests_alone(database: Database) -> None:
    with database.transaction() as connection:
        key = add_user(connection, "rita", Role.REVIEWER)
        (row,) = connection.execute("select * from api_keys").fetchall()
    assert row["digest"] == key_digest(key)
    assert not any(key in str(value) for value in row.values())


@pytest.mark.parametrize(
    "withdrawn", ["update api_keys set revoked_at = now()", "update principals set disabled_at = now()"]
)
def test_a_key_that_was_withdrawn_is_refused(database: Database, withdrawn: str) -> None:
    with database.transaction() as connection:
        key = add_user(connection, "rita", Role.REVIEWER)
        connection.execute(withdrawn)  # type: ignore[call-overload]
        with pytest.raises(NotAuthenticatedError):
            authenticate(connection, key)


def test_a_name_that_is_taken_is_a_conflict_and_its_key_stays(database: Database) -> None:
    with database.transaction() as connection:
        key = add_user(connection, "rita", Role.REVIEWER)
    with pytest.raises(ConflictError, match="already a user rita"), database.transaction() as connection:
        add_user(connection, "rita", Role.ADMIN)
    with database.transaction() as connection:
        assert authenticate(connection, key).role is Role.REVIEWER


def test_before_the_first_user_the_command_line_says_how_to_make_one(database: Database) -> None:
    with database.transaction() as connection, pytest.raises(ConfigurationError, match="forecastle users add"):
        at_command_line(connection, None)


def test_the_only_user_needs_no_key_and_is_marked_alone(database: Database) -> None:
    with database.transaction() as connection:
        key = add_user(connection, "ada", Role.ADMIN)
        assert at_command_line(connection, None) == Principal("ada", Role.ADMIN, alone=True)
        assert authenticate(connection, key).alone
        add_user(connection, "rita", Role.REVIEWER)
        assert not authenticate(connection, key).alone


def test_one_of_several_users_has_to_say_who_it_is(database: Database) -> None:
    with database.transaction() as connection:
        keys = {name: add_user(connection, name, Role.ADMIN) for name in ("ada", "rita")}
        with pytest.raises(NotAuthenticatedError, match="FORECASTLE_API_KEY"):
            at_command_line(connection, None)
        assert at_command_line(connection, keys["rita"]).name == "rita"
        connection.execute("update principals set disabled_at = now() where name = 'ada'")
        assert at_command_line(connection, None) == Principal("rita", Role.ADMIN, alone=True)


def test_the_last_admin_cannot_be_disabled_and_others_can(database: Database) -> None:
    with database.transaction() as connection:
        add_user(connection, "ada", Role.ADMIN)
        key = add_user(connection, "bob", Role.MEMBER)
        with pytest.raises(ConflictError, match="last admin"):
            disable_user(connection, "ada")
        disable_user(connection, "bob")
        with pytest.raises(NotAuthenticatedError):
            authenticate(connection, key)
        with pytest.raises(NotFoundError):
            disable_user(connection, "bob")
