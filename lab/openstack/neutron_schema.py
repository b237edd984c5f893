"""Creates Neutron's tables on SQLite, where its migration scripts do not run (they need MySQL or PostgreSQL).

The only rows that those scripts add to an empty database are the rules that every project's default security group
starts with; they are added here too.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

sys.argv = ["neutron"]  # the service parses the command line as its own

import sqlalchemy as sa  # noqa: E402
from neutron import server  # noqa: E402

server._init_configuration(prog="neutron-schema")

from neutron.db import migration  # noqa: E402
from neutron.db.migration.models import head  # noqa: E402 (imports every model)
from neutron_lib.db import api as db_api  # noqa: E402

RULES_SCRIPT = "alembic_migrations/versions/*/expand/c33da356b165_*.py"

engine = db_api.get_writer_session().get_bind()
metadata = head.get_metadata()
metadata.create_all(engine)
(path,) = Path(migration.__file__).parent.glob(RULES_SCRIPT)
spec = importlib.util.spec_from_file_location("default_rules", path)
if spec is None or spec.loader is None:
    raise SystemExit(f"{path} cannot be imported")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
with engine.begin() as connection:
    for rule in module.default_template_rules:
        attributes = connection.execute(
            sa.insert(metadata.tables["standardattributes"]).values(
                description=rule.pop("description"), resource_type=module.table_name
            )
        )
        connection.execute(
            sa.insert(metadata.tables[module.table_name]).values(
                standard_attr_id=attributes.inserted_primary_key[0], **rule
            )
        )
