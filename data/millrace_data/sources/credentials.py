"""What sources may need to be let in, from the environment."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from millrace_data.objects.filesystem import ObjectStoreSettings

CREDENTIALS_FIELD: Final = "spec.source.credentialsSecretRef"


class Credentials(ObjectStoreSettings):
    """What sources ask for, by the variables that others use for the same."""

    pg_user: str | None = Field(None, alias="PGUSER", description="User of PostgreSQL")
    pg_password: str | None = Field(None, alias="PGPASSWORD", description="Its password")
    sql_url: str | None = Field(None, alias="SQL_URL", description="SQLAlchemy's URL of a database, password included")
    sql_seconds: float = Field(
        3600.0,
        alias="MILLRACE_SQL_SECONDS",
        gt=0,
        description="Most seconds of a statement in a database until its first rows, and of each batch of rows",
    )
    iceberg_uri: str | None = Field(
        None, alias="ICEBERG_URI", description="Address of an Iceberg catalog, password included; wins over the spec's"
    )
    iceberg_token: str | None = Field(None, alias="ICEBERG_TOKEN", description="Bearer token of an Iceberg catalog")
    iceberg_credential: str | None = Field(
        None, alias="ICEBERG_CREDENTIAL", description="Client id and secret of an Iceberg catalog, as id:secret"
    )
    iceberg_scope: str | None = Field(
        None, alias="ICEBERG_SCOPE", description="What the client asks for, such as PRINCIPAL_ROLE:ALL; else catalog"
    )
    iceberg_oauth2_uri: str | None = Field(
        None, alias="ICEBERG_OAUTH2_URI", description="Where the client gets its token, unless from the catalog itself"
    )
