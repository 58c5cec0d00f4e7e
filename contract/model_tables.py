"""The tables about models: what versions there are, which is live and why, and who may say so."""

from sqlalchemy import Identity, Index, Table, UniqueConstraint, text

from contract.columns import (
    check,
    document,
    key,
    line,
    metadata,
    now,
    one_of,
    optional,
    reference,
    required,
    tenant,
)

model_versions = Table(
    "model_versions",
    metadata,
    key("version", "text"),
    line(),
    reference("parent", "model_versions.version", nullable=True),
    required("base", "text"),
    required("uri", "text"),
    required("manifest", "jsonb"),
    optional("run_id", "uuid"),
    required("status", "text", default="'candidate'"),
    now("created_at"),
    one_of("status", "candidate", "champion", "retired", "rejected"),
)

promotions = Table(
    "promotions",
    metadata,
    key("line", "text"),
    key("epoch", "bigint"),
    required("previous_epoch", "bigint"),
    required("action", "text"),
    reference("version", "model_versions.version", nullable=False),
    reference("canary_version", "model_versions.version", nullable=True),
    required("canary_share", "float8", default="0"),
    reference("hold_back_version", "model_versions.version", nullable=True),
    required("hold_back_share", "float8", default="0"),
    required("actor", "text"),
    required("reason", "text"),
    optional("run_id", "uuid"),
    optional("evaluation_id", "uuid"),
    required("fencing_token", "bigint"),
    now("created_at"),
    one_of(
        "action",
        *("init", "promote", "rollback", "freeze", "unfreeze"),
        *("canary", "rebuild", "hold_back"),
    ),
    check("epoch_next", "epoch = previous_epoch + 1 AND previous_epoch >= 0"),
    check("canary_share_range", "canary_share BETWEEN 0 AND 1"),
    check("canary_both", "(canary_version IS NULL) = (canary_share = 0)"),
    check("hold_back_share_range", "hold_back_share BETWEEN 0 AND 1"),
    check("hold_back_both", "(hold_back_version IS NULL) = (hold_back_share = 0)"),
    check("shares_sum", "canary_share + hold_back_share <= 1"),
    UniqueConstraint("line", "previous_epoch"),
    Index(
        "promotions_run_id_key",
        "run_id",
        unique=True,
        postgresql_where=text("run_id IS NOT NULL AND action = 'promote'"),
    ),
)

training_runs = Table(
    "training_runs",
    metadata,
    key("run_id", "uuid"),
    line(),
    required("champion", "text"),
    optional("produced", "text"),
    required("fencing_token", "bigint"),
    required("status", "text", default="'running'"),
    document("config"),
    required("seed", "bigint"),
    required("spec_id", "text"),
    required("spec_version", "int"),
    optional("xid_from", "xid8"),  # the window is [xid_from, xid_to)
    optional("xid_to", "xid8"),
    optional("system_identifier", "text"),  # xids mean nothing in another cluster
    optional("n_decisions", "int"),
    document("skipped"),
    document("metrics"),
    optional("error", "text"),
    now("started_at"),
    optional("ended_at", "timestamptz"),
    one_of("status", "running", "promoted", "canary", "rejected", "failed", "nothing_to_learn"),
    check("ended_or_running", "(status = 'running') = (ended_at IS NULL)"),
    Index(None, "line", "started_at"),
)

evaluations = Table(
    "evaluations",
    metadata,
    key("evaluation_id", "uuid"),
    optional("run_id", "uuid"),
    line(),
    required("version", "text"),
    required("champion", "text"),
    required("kind", "text"),
    required("estimator", "text"),
    optional("estimate", "float8"),
    optional("low", "float8"),
    optional("high", "float8"),
    optional("alpha", "float8"),
    optional("n", "int"),
    optional("clusters", "int"),
    optional("effective_share", "float8"),
    required("verdict", "text"),
    required("reason", "text"),
    document("detail"),
    now("created_at"),
    one_of("kind", "offline", "replay", "parity", "golden", "canary", "hold_back"),
    one_of("verdict", "pass", "refuse", "not_enough_evidence"),
    check("interval", "low <= estimate AND estimate <= high"),
    Index(None, "line", "created_at"),
    Index(None, "run_id"),
)

leases = Table(
    "leases",
    metadata,
    key("name", "text"),
    required("holder", "text"),
    required("token", "bigint"),
    required("expires_at", "timestamptz"),
)

judge_leases = Table(
    "judge_leases",
    metadata,
    key("decision_id", "uuid"),
    key("rubric", "text"),  # id@version
    required("lease_id", "uuid"),
    required("expires_at", "timestamptz"),
    required("attempts", "int", default="1"),
    required("sampling_probability", "float8"),
    optional("error", "text"),  # why the last attempt was given back
    check("attempts_positive", "attempts >= 1"),
    check("probability", "sampling_probability > 0 AND sampling_probability <= 1"),
    Index(None, "lease_id"),
)

replays = Table(
    "replays",
    metadata,
    key("replay_id", "uuid"),
    tenant(),
    line(),
    required("decision_id", "uuid"),
    required("purpose", "text"),
    required("used", "smallint[]"),  # request positions, as the LLM shall read them
    optional("against", "smallint[]"),  # those whose answer it is compared with
    optional("run_id", "uuid"),  # the round that waits for it
    now("asked_at"),
    optional("lease_id", "uuid"),
    optional("expires_at", "timestamptz"),
    required("attempts", "int", default="0"),
    optional("value", "float8"),
    optional("error", "text"),  # why there is no value, or why the last attempt was given back
    optional("judge", "jsonb"),
    optional("done_at", "timestamptz"),
    optional("done_xid", "xid8"),  # the transaction that wrote what came of it
    one_of("purpose", "leave_one_out", "reference", "pair"),
    check("pair_of_two", "(purpose = 'pair') = (against IS NOT NULL)"),
    check("value_share", "value BETWEEN 0 AND 1"),
    check("value_is_the_end", "value IS NULL OR done_at IS NOT NULL"),
    check("end_in_a_transaction", "(done_at IS NULL) = (done_xid IS NULL)"),
    check("attempts_not_negative", "attempts >= 0"),
    UniqueConstraint(
        "decision_id",
        "purpose",
        "used",
        "against",
        name="replays_asked_once",
        postgresql_nulls_not_distinct=True,
    ),
    Index(None, "lease_id"),
    Index(None, "run_id"),
    Index(
        "replays_pairs_waiting",
        *("tenant", "asked_at", "replay_id"),
        postgresql_where=text("done_at IS NULL AND purpose = 'pair'"),
    ),
    Index(
        "replays_waiting",
        *("tenant", "asked_at", "replay_id"),
        postgresql_where=text("done_at IS NULL AND purpose <> 'pair'"),
    ),
)

quarantines = Table(
    "quarantines",
    metadata,
    key("quarantine_id", "bigint", Identity(always=True)),
    tenant(),
    required("source_type", "text"),
    required("source_id", "text"),
    required("quarantined", "boolean"),  # false: lifted
    optional("since", "timestamptz"),  # what was said before is heard; NULL: it never is
    required("actor", "text"),
    required("reason", "text"),
    now("created_at"),
    one_of("source_type", "HUMAN", "END_USER", "LLM_JUDGE", "CODE"),
    Index(None, "tenant", "source_type", "source_id", "quarantine_id"),
)

api_keys = Table(
    "api_keys",
    metadata,
    key("key_id", "text"),
    tenant(),
    required("secret_hmac", "bytea"),
    required("scopes", "text[]"),
    now("created_at"),
    optional("revoked_at", "timestamptz"),
    optional("name", "text"),
    optional("expires_at", "timestamptz"),
    reference("rotated_from", "api_keys.key_id", nullable=True),
    check("scopes_some", "cardinality(scopes) >= 1"),
    check("secret_hmac_size", "octet_length(secret_hmac) = 32"),
)
