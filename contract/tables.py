"""The memory of the loop: every table, as SQLAlchemy Core. The migrations build exactly this.

Decisions, answers, feedback and rewards are partitioned by the day inside their UUIDv7. No foreign
key leads into or out of them: they are written in batches and in any order. Functions and triggers
live in the migrations alone.
"""

from typing import Any, Final

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, MetaData, Table, text
from sqlalchemy import UniqueConstraint as Unique

from contract.columns import (
    document,
    flag,
    key,
    line,
    now,
    optional,
    required,
    tenant,
    xid,
)

PARTITIONED: Final = ("decisions", "answers", "feedback", "rewards")
"""The tables with one partition a day, as `ensure_partitions` makes them."""

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s",
    }
)


def _check(name: str, condition: str) -> CheckConstraint:
    return CheckConstraint(condition, name=name)


def _one_of(column: str, *values: str) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return _check(f"{column}_known", f"{column} IN ({listed})")


def _by_day() -> dict[str, Any]:
    return {"postgresql_partition_by": "RANGE (decision_id)"}


texts = Table(
    "texts",
    metadata,
    key("text_id", "bigint", Identity(always=True)),
    tenant(),
    required("sha256", "bytea"),
    optional("body", "text"),  # NULL: only the hash is kept, or the text was erased
    required("n_chars", "int"),
    now("first_seen"),
    _check("sha256_size", "octet_length(sha256) = 32"),
    Unique("tenant", "sha256"),
)

decisions = Table(
    "decisions",
    metadata,
    key("decision_id", "uuid"),
    tenant(),
    line(),
    optional("session_hash", "bytea"),
    optional("request_key", "text"),
    required("query_text", "bigint"),
    required("epoch", "bigint"),
    required("version", "text"),
    required("precision", "text"),
    required("arm", "text"),
    required("explored", "boolean"),
    required("epsilon", "float8"),
    required("temperature", "float8"),
    required("sampled", "smallint"),  # how many of the best the sampler drew from
    optional("max_fall", "smallint"),
    required("candidate_texts", "bigint[]"),  # request order
    optional("candidate_keys", "text[]"),
    optional("first_stage_scores", "float8[]"),  # its elements may be NULL
    required("logits", "float8[]"),  # request order, what the sampler used; empty if none were made
    required("shown", "smallint[]"),  # request positions, best first
    required("cum_log_propensity", "float8[]"),  # one for each prefix of shown
    optional("not_learnable", "text"),
    flag("degraded"),
    document("tags"),
    optional("latency_ms", "float8"),
    xid(),
    _one_of("arm", "champion", "canary", "pinned"),
    _check("epsilon_share", "epsilon BETWEEN 0 AND 1"),
    _check("temperature_positive", "temperature > 0 AND temperature < 'Infinity'"),
    _check("sampled_range", "sampled BETWEEN 0 AND cardinality(candidate_texts)"),
    _check("max_fall_positive", "max_fall >= 0"),
    _check("candidates_some", "cardinality(candidate_texts) >= 1"),
    _check("keys_parallel", "cardinality(candidate_keys) = cardinality(candidate_texts)"),
    _check("scores_parallel", "cardinality(first_stage_scores) = cardinality(candidate_texts)"),
    _check(
        "logits_parallel",
        "cardinality(logits) = cardinality(candidate_texts) OR degraded AND cardinality(logits) = 0",
    ),
    _check("logits_finite", "'-Infinity' < ALL (logits) AND 'Infinity' > ALL (logits)"),
    _check("shown_range", "cardinality(shown) BETWEEN 1 AND cardinality(candidate_texts)"),
    _check("shown_positions", "0 <= ALL (shown) AND cardinality(candidate_texts) > ALL (shown)"),
    _check("propensity_parallel", "cardinality(cum_log_propensity) = cardinality(shown)"),
    # A hair above 0 is rounding; NaN sorts above every number and is refused with it.
    _check(
        "propensity_range",
        "'-Infinity' < ALL (cum_log_propensity) AND 1e-9 >= ALL (cum_log_propensity)",
    ),
    _check("learnable", "not_learnable IS NOT NULL OR epsilon > 0 AND NOT degraded"),
    Index(None, "xid"),
    Index(None, "version", "decision_id"),
    Index(None, "tenant", "request_key", postgresql_where=text("request_key IS NOT NULL")),
    Index(None, "session_hash", "decision_id", postgresql_where=text("session_hash IS NOT NULL")),
    **_by_day(),
)

answers = Table(
    "answers",
    metadata,
    key("decision_id", "uuid"),
    tenant(),
    required("used_k", "smallint"),
    optional("used", "smallint[]"),  # request positions, where they are no prefix of what was shown
    optional("answer_text", "bigint"),
    optional("citations", "smallint[]"),
    optional("model", "text"),
    optional("prompt_version", "text"),
    optional("latency_ms", "float8"),
    now("occurred_at"),
    now("received_at"),
    required("body_sha256", "bytea"),
    xid(),
    _check("used_k_positive", "used_k >= 0"),
    _check("used_counted", "cardinality(used) = used_k"),
    _check("body_sha256_size", "octet_length(body_sha256) = 32"),
    Index(None, "xid"),
    **_by_day(),
)

feedback = Table(
    "feedback",
    metadata,
    key("decision_id", "uuid"),
    key("feedback_id", "uuid"),
    tenant(),
    optional("document", "smallint"),  # request position, where it speaks of one document
    required("name", "text"),
    optional("value_type", "text"),
    optional("num_value", "float8"),  # a boolean is 0 or 1
    optional("str_value", "text"),
    optional("error", "jsonb"),  # the judge failed: unobserved, not zero
    required("source_type", "text"),
    required("source_id", "text"),
    required("idempotency_key", "text"),
    required("body_sha256", "bytea"),
    optional("supersedes", "uuid"),
    flag("retracted"),
    flag("late"),
    flag("pending"),
    optional("rationale", "text"),
    document("metadata"),
    optional("judge", "jsonb"),
    now("occurred_at"),
    now("received_at"),
    xid(),
    _one_of("source_type", "HUMAN", "END_USER", "LLM_JUDGE", "CODE"),
    _check("document_position", "document >= 0"),
    _check("finite", "num_value > '-Infinity' AND num_value < 'Infinity'"),
    _check("said", "retracted OR num_nonnulls(value_type, error) = 1"),
    _check(
        "typed",
        "CASE value_type"
        " WHEN 'number' THEN num_value IS NOT NULL AND str_value IS NULL"
        " WHEN 'boolean' THEN num_value IS NOT NULL AND num_value IN (0, 1) AND str_value IS NULL"
        " WHEN 'string' THEN num_value IS NULL AND str_value IS NOT NULL"
        " ELSE value_type IS NULL AND num_value IS NULL AND str_value IS NULL END",
    ),
    _check("body_sha256_size", "octet_length(body_sha256) = 32"),
    Unique("decision_id", "source_type", "source_id", "idempotency_key", name="feedback_said_once"),
    Index(None, "xid"),
    **_by_day(),
)

reward_specs = Table(
    "reward_specs",
    metadata,
    key("spec_id", "text"),
    key("version", "int"),
    required("definition", "jsonb"),
    now("created_at"),
)

rewards = Table(
    "rewards",
    metadata,
    key("decision_id", "uuid"),
    key("spec_id", "text"),
    key("spec_version", "int"),
    key("revision", "int"),
    tenant(),
    line(),
    optional("reward", "float8"),  # NULL: withdrawn, or nothing was said
    required("feedback_count", "int"),
    optional("credits", "float8[]"),  # by request position, NULL where nobody spoke of it
    now("closed_at"),
    xid(),
    _check("revision_positive", "revision >= 1"),
    _check("reward_share", "reward BETWEEN 0 AND 1"),
    _check("credits_share", "0 <= ALL (credits) AND 1 >= ALL (credits)"),
    _check("feedback_count_positive", "feedback_count >= 0"),
    Index(None, "xid"),
    **_by_day(),
)

model_versions = Table(
    "model_versions",
    metadata,
    key("version", "text"),
    line(),
    optional("parent", "text", ForeignKey("model_versions.version")),
    required("base", "text"),
    required("uri", "text"),
    required("manifest", "jsonb"),
    optional("run_id", "uuid"),
    required("status", "text", default="'candidate'"),
    now("created_at"),
    _one_of("status", "candidate", "champion", "retired", "rejected"),
)

promotions = Table(
    "promotions",
    metadata,
    key("line", "text"),
    key("epoch", "bigint"),
    required("previous_epoch", "bigint"),
    required("action", "text"),
    required("version", "text", ForeignKey("model_versions.version")),
    optional("canary_version", "text", ForeignKey("model_versions.version")),
    required("canary_share", "float8", default="0"),
    required("actor", "text"),
    required("reason", "text"),
    optional("run_id", "uuid"),
    optional("evaluation_id", "uuid"),
    required("fencing_token", "bigint"),
    now("created_at"),
    _one_of("action", "init", "promote", "rollback", "freeze", "unfreeze", "canary"),
    _check("epoch_next", "epoch = previous_epoch + 1 AND previous_epoch >= 0"),
    _check("canary_share_range", "canary_share BETWEEN 0 AND 1"),
    _check("canary_both", "(canary_version IS NULL) = (canary_share = 0)"),
    Unique("line", "previous_epoch"),
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
    _one_of("status", "running", "promoted", "rejected", "failed", "nothing_to_learn"),
    _check("ended_or_running", "(status = 'running') = (ended_at IS NULL)"),
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
    _one_of("kind", "offline", "parity", "golden", "canary"),
    _one_of("verdict", "pass", "refuse", "not_enough_evidence"),
    _check("interval", "low <= estimate AND estimate <= high"),
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
    _check("attempts_positive", "attempts >= 1"),
    _check("probability", "sampling_probability > 0 AND sampling_probability <= 1"),
    Index(None, "lease_id"),
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
)
