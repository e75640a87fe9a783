"""The source of a feature view's rows, which is one of several kinds."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from millrace_core.api.base import ApiModel, ColumnName, Rule, SecretRef, list_map, validations

# Also where it would be refused when it is read: an object is shown to more people than a Secret.
_NO_CREDENTIALS = validations(
    Rule(
        "!self.matches('^[a-z0-9]+://[^/]*@')",
        "a user or password is in uri, where none may be; put AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into the "
        "Secret of credentialsSecretRef",
    )
)

URI = r"^(file|s3)://.+$"
CATALOG_URI = r"^[^:@]+://([^:@/]*@)?[^@]*$"
ICEBERG_TABLE = r"^[^.]+(\.[^.]+)+$"
TABLE_NAME = r"^[^.\"]+(\.[^.\"]+)?$"

Uri = Annotated[str, Field(pattern=URI, max_length=1024, json_schema_extra=_NO_CREDENTIALS)]


class ParquetSourceSpec(ApiModel):
    """Parquet files."""

    uri: Uri = Field(
        description=(
            "file:///path or s3://bucket/path: a file; a folder, whose *.parquet files are read together; or a "
            "pattern, in which * stands for a part of one name and ** for any folders. Below the folder or the first * "
            "folders named column=value give every row in them that column, and are skipped where its value rules them "
            "out."
        )
    )


class DeltaSourceSpec(ApiModel):
    """A Delta Lake table."""

    uri: Uri = Field(description="The table's folder: file:///path or s3://bucket/path.")
    version: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Version of the table; absent: the newest at the start of each run."
    )


class IcebergCatalog(ApiModel):
    """The catalog that knows the table."""

    name: Annotated[str, Field(min_length=1, max_length=255)] = Field(
        default="default", description="Name of the catalog; a sql catalog keeps its tables under it."
    )
    type: Literal["rest", "sql", "glue"] = Field(description="Kind of catalog.")
    uri: Annotated[str, Field(pattern=CATALOG_URI, max_length=1024)] | None = Field(
        default=None,
        description=(
            "Address of the catalog: http(s)://… for rest, an SQLAlchemy URL for sql. It holds no password: a URL that "
            "does stands in the Secret, as ICEBERG_URI."
        ),
        json_schema_extra=validations(
            Rule(
                "!self.matches('[?&](password|passwd|pwd|token|secret)=')",
                "uri holds no password; put the whole of it into the Secret of credentialsSecretRef, as ICEBERG_URI",
            )
        ),
    )
    warehouse: Annotated[str, Field(max_length=1024)] | None = Field(
        default=None, description="The warehouse's location or name, where the catalog needs one."
    )

    rules: ClassVar = (
        Rule(
            "self.type != 'rest' || !has(self.uri) || !self.uri.contains('@')",
            "uri of a rest catalog holds no user; put ICEBERG_TOKEN or ICEBERG_CREDENTIAL into the Secret of "
            "credentialsSecretRef",
        ),
    )


class IcebergSourceSpec(ApiModel):
    """An Iceberg table."""

    catalog: IcebergCatalog = Field(description="The catalog that knows the table.")
    table: Annotated[str, Field(pattern=ICEBERG_TABLE, max_length=512)] = Field(
        description="Namespace and name, such as lake.events."
    )
    snapshot_id: int | None = Field(
        default=None, description="Snapshot to read; absent: the newest at the start of each run."
    )


TableName = Annotated[str, Field(pattern=TABLE_NAME, max_length=255)]
Query = Annotated[str, Field(min_length=1, max_length=8192)]

_TABLE_OR_QUERY = Rule(
    "has(self.table) != has(self.query)", "exactly one of table and query says what is read; set one of the two"
)


class PostgresSourceSpec(ApiModel):
    """A table or query of PostgreSQL, read as a stream."""

    host: Annotated[str, Field(min_length=1, max_length=253)] = Field(
        description="Host name or address; on a cluster one that the platform's settings allow.",
        json_schema_extra=validations(
            Rule(
                "!self.contains('@') && !self.contains('://')",
                "host is a name or an address alone; put PGUSER and PGPASSWORD into the Secret of credentialsSecretRef",
            )
        ),
    )
    port: Annotated[int, Field(ge=1, le=65535)] = Field(default=5432, description="Port.")
    database: Annotated[str, Field(min_length=1, max_length=63)] = Field(description="Name of the database.")
    ssl_mode: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = Field(
        default="prefer", description="How the connection is secured, in libpq's words."
    )
    table: TableName | None = Field(default=None, description="Table or view, such as events or sales.events.")
    query: Query | None = Field(default=None, description="One select statement instead of a table.")

    rules: ClassVar = (_TABLE_OR_QUERY,)


class SqlSourceSpec(ApiModel):
    """A table or query of any database that SQLAlchemy reaches; the Secret says where (SQL_URL)."""

    table: TableName | None = Field(default=None, description="Table or view, such as events or sales.events.")
    query: Query | None = Field(default=None, description="One select statement instead of a table.")

    rules: ClassVar = (_TABLE_OR_QUERY,)


class PushSourceSpec(ApiModel):
    """Rows that are pushed; the log of what was pushed is the history."""

    uri: Uri = Field(description="Folder of the log, of this view alone: file:///path or s3://bucket/path.")


TimeUnit = Literal["s", "ms", "us", "ns"]


class ComputedColumn(ApiModel):
    """A column that is computed from each row of the source as it is read."""

    name: ColumnName = Field(
        description="Name of the column. One of the source that is called so is hidden, and expressions still see it."
    )
    expression: Annotated[str, Field(min_length=1, max_length=4096)] = Field(
        description=(
            "SQL scalar expression over the source's own columns, such as cast(price as double), address.city or "
            "json_extract_string(payload, '$.user'). A row for which it fails stops the reading; try_cast and nullif "
            "make null of what cannot be computed. It has the limits of features' expressions: a value that is too "
            "long for it, and a batch that takes two minutes or 512 MiB, fail the run."
        )
    )


SOURCE_KINDS = ("parquet", "delta", "iceberg", "postgres", "sql", "push")


class SourceSpec(ApiModel):
    """Where rows come from. Each row says what was known of one entity at one event time."""

    parquet: ParquetSourceSpec | None = Field(default=None, description="Read Parquet files.")
    delta: DeltaSourceSpec | None = Field(default=None, description="Read a Delta Lake table.")
    iceberg: IcebergSourceSpec | None = Field(default=None, description="Read an Iceberg table.")
    postgres: PostgresSourceSpec | None = Field(default=None, description="Read PostgreSQL.")
    sql: SqlSourceSpec | None = Field(default=None, description="Read a database through SQLAlchemy.")
    push: PushSourceSpec | None = Field(default=None, description="Take rows that are pushed.")
    columns: list[ComputedColumn] | None = Field(
        default=None,
        max_length=100,
        description=(
            "Columns computed from those of the source. Entities, times, features, where and quality rules read them "
            "as if the source had them. They are needed where a conversion would lose something, or where a value is "
            "within a struct or JSON; what loses nothing is converted without."
        ),
        json_schema_extra=list_map("name"),
    )
    timestamp_field: ColumnName = Field(
        description=(
            "Column that holds the event time: a timestamp, a date, or text as ISO 8601 has it. A time without a zone "
            "is UTC. Numbers need timestampUnit."
        )
    )
    timestamp_unit: TimeUnit | None = Field(
        default=None,
        description="What the numbers in timestampField count since 1970-01-01 UTC; the view sees them as timestamps.",
    )
    created_timestamp_field: ColumnName | None = Field(
        default=None,
        description="Column that holds when the row was written; among equal event times the greatest wins.",
    )
    created_timestamp_unit: TimeUnit | None = Field(
        default=None, description="What the numbers in createdTimestampField count since 1970-01-01 UTC."
    )
    where: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(
        default=None,
        description=(
            "SQL condition over the columns; rows for which it is not true are left out. It has the functions and the "
            "limits of features' expressions: a value that is too long for it, and a batch that takes two minutes or "
            "512 MiB, fail the run."
        ),
    )
    credentials_secret_ref: SecretRef | None = Field(
        default=None,
        description=(
            "Secret with what the source asks for. Files on S3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, as "
            "needed, AWS_SESSION_TOKEN, AWS_ENDPOINT_URL and AWS_REGION. postgres: PGUSER and PGPASSWORD. sql: "
            "SQL_URL, SQLAlchemy's URL with user and password. Both: MILLRACE_SQL_SECONDS, how long a query may take to"
            " its first rows and each batch of rows (3600). iceberg: S3's for files and Glue; ICEBERG_TOKEN, or "
            "ICEBERG_CREDENTIAL with, as needed, ICEBERG_SCOPE and ICEBERG_OAUTH2_URI, for a rest catalog; ICEBERG_URI "
            "for a sql catalog whose URL holds a password."
        ),
    )

    rules: ClassVar = (
        Rule(
            "[" + ", ".join(f"has(self.{kind})" for kind in SOURCE_KINDS) + "].filter(set, set).size() == 1",
            f"exactly one of {', '.join(SOURCE_KINDS)} says where rows come from",
        ),
        Rule(
            "!has(self.createdTimestampUnit) || has(self.createdTimestampField)",
            "createdTimestampUnit says what createdTimestampField counts; name that column, or leave the unit out",
        ),
        Rule(
            "!has(self.push) || !(has(self.columns) || has(self.timestampUnit) || has(self.createdTimestampUnit))",
            "pushed rows come with the types that the view declares; leave columns, timestampUnit and "
            "createdTimestampUnit out",
        ),
    )

    @property
    def kinds(self) -> list[str]:
        """The kinds of source that are set; one in a valid spec."""
        return [kind for kind in SOURCE_KINDS if getattr(self, kind) is not None]
