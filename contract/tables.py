"""The memory of the loop: every table, as SQLAlchemy Core. The migrations build exactly this.

Decisions, answers, feedback and rewards are partitioned by the day inside their UUIDv7. No foreign
key leads into or out of them: they are written in batches and in any order. Functions and triggers
live in the migrations alone.
"""

from typing import Final

from sqlalchemy import Identity, Index, Table, UniqueConstraint, text

from contract.columns import (
    check,
    document,
    flag,
    key,
    line,
    metadata,
    now,
    one_of,
    optional,
    required,
    tenant,
    xid,
)
from contract.model_tables import (
    api_keys,
    evaluations,
    leases,
    model_versions,
    promotions,
    quarantines,
    replays,
    training_runs,
)

__all__ = [
    "PARTITIONED",
    "answers",
    "api_keys",
    "decisions",
    "evaluations",
    "failures",
    "feedback",
    "leases",
    "metadata",
    "model_versions",
    "promotions",
    "quarantines",
    "replays",
    "reward_specs",
    "rewards",
    "texts",
    "training_runs",
]

PARTITIONED: Final = ("decisions", "answers", "feedback", "rewards")
"""The tables with one partition a day, as `ensure_partitions` makes them."""

_BY_DAY: Final = "RANGE (decision_id)"

texts = Table(
    "texts",
    metadata,
    key("text_id", "bigint", Identity(always=True)),
    tenant(),
    required("sha256", "bytea"),
    optional("body", "text"),  # NULL: only the hash is kept, or the text was erased
    required("n_chars", "int"),
    now("first_seen"),
    check("sha256_size", "octet_length(sha256) = 32"),
    UniqueConstraint("tenant", "sha256"),
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
    optional("span_starts", "int[]"),  # characters of each text that its logit is of; elements
    optional("span_ends", "int[]"),  # may be NULL: the text as far as it fits
    required("logits", "float8[]"),  # request order, what the sampler used; empty if none were made
    required("shown", "smallint[]"),  # request positions, best first
    required("cum_log_propensity", "float8[]"),  # one for each prefix of shown
    optional("not_learnable", "text"),
    flag("degraded"),
    document("tags"),
    optional("latency_ms", "float8"),
    xid(),
    one_of("arm", "champion", "canary", "hold_back", "pinned"),
    check("epsilon_share", "epsilon BETWEEN 0 AND 1"),
    check("temperature_positive", "temperature > 0 AND temperature < 'Infinity'"),
    check("sampled_range", "sampled BETWEEN 0 AND cardinality(candidate_texts)"),
    check("max_fall_positive", "max_fall >= 0"),
    check("candidates_some", "cardinality(candidate_texts) >= 1"),
    check("keys_parallel", "cardinality(candidate_keys) = cardinality(candidate_texts)"),
    check("scores_parallel", "cardinality(first_stage_scores) = cardinality(candidate_texts)"),
    check("starts_parallel", "cardinality(span_starts) = cardinality(candidate_texts)"),
    check("ends_parallel", "cardinality(span_ends) = cardinality(candidate_texts)"),
    check("span_both", "(span_starts IS NULL) = (span_ends IS NULL)"),
    check(
        "logits_parallel",
        "cardinality(logits) = cardinality(candidate_texts) OR degraded AND cardinality(logits) = 0",
    ),
    check("logits_finite", "'-Infinity' < ALL (logits) AND 'Infinity' > ALL (logits)"),
    check("shown_range", "cardinality(shown) BETWEEN 1 AND cardinality(candidate_texts)"),
    check("shown_positions", "0 <= ALL (shown) AND cardinality(candidate_texts) > ALL (shown)"),
    check("propensity_parallel", "cardinality(cum_log_propensity) = cardinality(shown)"),
    # A hair above 0 is rounding; NaN sorts above every number and is refused with it.
    check(
        "propensity_range",
        "'-Infinity' < ALL (cum_log_propensity) AND 1e-9 >= ALL (cum_log_propensity)",
    ),
    check("learnable", "not_learnable IS NOT NULL OR epsilon > 0 AND NOT degraded"),
    Index(None, "xid"),
    Index(None, "version", "decision_id"),
    Index(None, "query_text", "decision_id"),
    Index(None, "tenant", "request_key", postgresql_where=text("request_key IS NOT NULL")),
    Index(None, "session_hash", "decision_id", postgresql_where=text("session_hash IS NOT NULL")),
    postgresql_partition_by=_BY_DAY,
)

failures = Table(
    "failures",
    metadata,
    key("decision_id", "uuid"),
    tenant(),
    line(),
    optional("session_hash", "bytea"),
    required("epoch", "bigint"),
    required("version", "text"),
    required("arm", "text"),
    required("error", "text"),  # its kind
    one_of("arm", "champion", "canary", "hold_back", "pinned"),
    Index(None, "line", "epoch"),
)

answers = Table(
    "answers",
    metadata,
    key("decision_id", "uuid"),
    tenant(),
    required("used_k", "smallint"),
    optional("used", "smallint[]"),  # request positions, where they are no prefix of what was shown
    optional("answer_text", "bigint"),
    optional("reference_text", "bigint"),  # the right answer, where somebody knows it
    optional("citations", "smallint[]"),
    optional("model", "text"),
    optional("prompt_version", "text"),
    optional("latency_ms", "float8"),
    now("occurred_at"),
    now("received_at"),
    required("body_sha256", "bytea"),
    xid(),
    check("used_k_positive", "used_k >= 0"),
    check("used_counted", "cardinality(used) = used_k"),
    check("body_sha256_size", "octet_length(body_sha256) = 32"),
    Index(None, "xid"),
    postgresql_partition_by=_BY_DAY,
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
    one_of("source_type", "HUMAN", "END_USER", "LLM_JUDGE", "CODE"),
    check("document_position", "document >= 0"),
    check("finite", "num_value > '-Infinity' AND num_value < 'Infinity'"),
    check("said", "retracted OR num_nonnulls(value_type, error) = 1"),
    check(
        "typed",
        "CASE value_type"
        " WHEN 'number' THEN num_value IS NOT NULL AND str_value IS NULL"
        " WHEN 'boolean' THEN num_value IS NOT NULL AND num_value IN (0, 1) AND str_value IS NULL"
        " WHEN 'string' THEN num_value IS NULL AND str_value IS NOT NULL"
        " ELSE value_type IS NULL AND num_value IS NULL AND str_value IS NULL END",
    ),
    check("body_sha256_size", "octet_length(body_sha256) = 32"),
    UniqueConstraint(
        "decision_id", "source_type", "source_id", "idempotency_key", name="feedback_said_once"
    ),
    Index(None, "xid"),
    postgresql_partition_by=_BY_DAY,
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
    optional("observation", "float8"),  # how likely a reward was at all; NULL: not known, as if 1
    now("closed_at"),
    xid(),
    check("revision_positive", "revision >= 1"),
    check("reward_share", "reward BETWEEN 0 AND 1"),
    check("credits_share", "0 <= ALL (credits) AND 1 >= ALL (credits)"),
    check("feedback_count_positive", "feedback_count >= 0"),
    check("observation_probability", "observation > 0 AND observation <= 1"),
    Index(None, "xid"),
    postgresql_partition_by=_BY_DAY,
)
