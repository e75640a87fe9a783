"""How the database became what it is: one revision for each change of the tables, applied in turn by Alembic.

``NEWEST`` is the revision that this program works with. What is there already is never edited: a change of ``tables``
or its sisters is a new file in ``versions``, and tests compare the two. An empty database gets today's tables at
once, and the same revision.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Column, Connection, MetaData, String, Table, insert, inspect, select

from millrace_services.registry import model_tables, tracking_tables  # noqa: F401 they add their tables to metadata
from millrace_services.registry.tables import metadata

FOLDER: Final = Path(__file__).parent
NEWEST: Final = "0003"
# Alembic's own name is that of other programs' tables, too, which may share the database.
VERSION_TABLE: Final = "millrace_schema"

# As Alembic makes it.
_version = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32), primary_key=True))


def revision(connection: Connection) -> str:
    """The database's revision; empty where it has none."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return ""
    return connection.scalar(select(_version.c.version_num)) or ""


def upgrade(connection: Connection) -> str:
    """Brings the database to ``NEWEST`` inside the connection's transaction.

    Returns:
        Its revision from then on: another than ``NEWEST`` where this program does not know it, and left it alone.
    """
    before = revision(connection)
    if not before and not set(inspect(connection).get_table_names()) & set(metadata.tables):
        metadata.create_all(connection, checkfirst=False)
        _version.create(connection, checkfirst=True)
        connection.execute(insert(_version).values(version_num=NEWEST))
        return NEWEST
    return by_revisions(connection)


def by_revisions(connection: Connection) -> str:
    """The same for a database that holds something, by Alembic."""
    # Alembic takes a third of a second to import, which a database that is new or up to date need not wait for.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    before = revision(connection)
    known = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
    if before and before not in known:
        return before
    command.upgrade(config, "head")
    return revision(connection)
