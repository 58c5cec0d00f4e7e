CREATE TABLE texts (
  text_id bigint GENERATED ALWAYS AS IDENTITY,
  tenant text NOT NULL DEFAULT 'default',
  sha256 bytea NOT NULL,
  body text,
  n_chars int NOT NULL,
  first_seen timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT texts_pkey PRIMARY KEY (text_id),
  CONSTRAINT texts_sha256_size CHECK (octet_length(sha256) = 32),
  CONSTRAINT texts_tenant_sha256_key UNIQUE (tenant, sha256)
);


CREATE TABLE decisions (
  decision_id uuid NOT NULL,
  tenant text NOT NULL DEFAULT 'default',
  line text NOT NULL DEFAULT 'default',
  session_hash bytea,
  request_key text,
  query_text bigint NOT NULL,
  epoch bigint NOT NULL,
  version text NOT NULL,
  precision text NOT NULL,
  arm text NOT NULL,
  explored boolean NOT NULL,
  epsilon float8 NOT NULL,
  temperature float8 NOT NULL,
  sampled smallint NOT NULL,
  max_fall smallint,
  candidate_texts bigint[] NOT NULL,
  candidate_keys text[],
  first_stage_scores float8[],
  logits float8[] NOT NULL,
  shown smallint[] NOT NULL,
  cum_log_propensity float8[] NOT NULL,
  not_learnable text,
  degraded boolean NOT NULL DEFAULT false,
  tags jsonb NOT NULL DEFAULT '{}'::jsonb,
  latency_ms float8,
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  CONSTRAINT decisions_pkey PRIMARY KEY (decision_id),
  CONSTRAINT decisions_arm_known CHECK (arm IN ('champion', 'canary', 'pinned')),
  CONSTRAINT decisions_epsilon_share CHECK (epsilon BETWEEN 0 AND 1),
  CONSTRAINT decisions_temperature_positive CHECK (temperature > 0 AND temperature < 'Infinity'),
  CONSTRAINT decisions_sampled_range CHECK (sampled BETWEEN 0 AND cardinality(candidate_texts)),
  CONSTRAINT decisions_max_fall_positive CHECK (max_fall >= 0),
  CONSTRAINT decisions_candidates_some CHECK (cardinality(candidate_texts) >= 1),
  CONSTRAINT decisions_keys_parallel CHECK (cardinality(candidate_keys) = cardinality(candidate_texts)),
  CONSTRAINT decisions_scores_parallel CHECK (cardinality(first_stage_scores) = cardinality(candidate_texts)),
  CONSTRAINT decisions_logits_parallel CHECK (cardinality(logits) = cardinality(candidate_texts) OR degraded AND cardinality(logits) = 0),
  CONSTRAINT decisions_logits_finite CHECK ('-Infinity' < ALL (logits) AND 'Infinity' > ALL (logits)),
  CONSTRAINT decisions_shown_range CHECK (cardinality(shown) BETWEEN 1 AND cardinality(candidate_texts)),
  CONSTRAINT decisions_shown_positions CHECK (0 <= ALL (shown) AND cardinality(candidate_texts) > ALL (shown)),
  CONSTRAINT decisions_propensity_parallel CHECK (cardinality(cum_log_propensity) = cardinality(shown)),
  CONSTRAINT decisions_propensity_range CHECK ('-Infinity' < ALL (cum_log_propensity) AND 1e-9 >= ALL (cum_log_propensity)),
  CONSTRAINT decisions_learnable CHECK (not_learnable IS NOT NULL OR epsilon > 0 AND NOT degraded)
) PARTITION BY RANGE (decision_id);

CREATE INDEX decisions_session_hash_decision_id_idx ON decisions (session_hash, decision_id) WHERE session_hash IS NOT NULL;
CREATE INDEX decisions_tenant_request_key_idx ON decisions (tenant, request_key) WHERE request_key IS NOT NULL;
CREATE INDEX decisions_version_decision_id_idx ON decisions (version, decision_id);
CREATE INDEX decisions_xid_idx ON decisions (xid);

CREATE TABLE answers (
  decision_id uuid NOT NULL,
  tenant text NOT NULL DEFAULT 'default',
  used_k smallint NOT NULL,
  used smallint[],
  answer_text bigint,
  citations smallint[],
  model text,
  prompt_version text,
  latency_ms float8,
  occurred_at timestamptz NOT NULL DEFAULT now(),
  received_at timestamptz NOT NULL DEFAULT now(),
  body_sha256 bytea NOT NULL,
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  CONSTRAINT answers_pkey PRIMARY KEY (decision_id),
  CONSTRAINT answers_used_k_positive CHECK (used_k >= 0),
  CONSTRAINT answers_used_counted CHECK (cardinality(used) = used_k),
  CONSTRAINT answers_body_sha256_size CHECK (octet_length(body_sha256) = 32)
) PARTITION BY RANGE (decision_id);

CREATE INDEX answers_xid_idx ON answers (xid);

CREATE TABLE feedback (
  decision_id uuid NOT NULL,
  feedback_id uuid NOT NULL,
  tenant text NOT NULL DEFAULT 'default',
  document smallint,
  name text NOT NULL,
  value_type text,
  num_value float8,
  str_value text,
  error jsonb,
  source_type text NOT NULL,
  source_id text NOT NULL,
  idempotency_key text NOT NULL,
  body_sha256 bytea NOT NULL,
  supersedes uuid,
  retracted boolean NOT NULL DEFAULT false,
  late boolean NOT NULL DEFAULT false,
  pending boolean NOT NULL DEFAULT false,
  rationale text,
  metadata jsonb NOT NULL DEFAULT '{}'::jsonb,
  judge jsonb,
  occurred_at timestamptz NOT NULL DEFAULT now(),
  received_at timestamptz NOT NULL DEFAULT now(),
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  CONSTRAINT feedback_pkey PRIMARY KEY (decision_id, feedback_id),
  CONSTRAINT feedback_source_type_known CHECK (source_type IN ('HUMAN', 'END_USER', 'LLM_JUDGE', 'CODE')),
  CONSTRAINT feedback_document_position CHECK (document >= 0),
  CONSTRAINT feedback_finite CHECK (num_value > '-Infinity' AND num_value < 'Infinity'),
  CONSTRAINT feedback_said CHECK (retracted OR num_nonnulls(value_type, error) = 1),
  CONSTRAINT feedback_typed CHECK (CASE value_type WHEN 'number' THEN num_value IS NOT NULL AND str_value IS NULL WHEN 'boolean' THEN num_value IS NOT NULL AND num_value IN (0, 1) AND str_value IS NULL WHEN 'string' THEN num_value IS NULL AND str_value IS NOT NULL ELSE value_type IS NULL AND num_value IS NULL AND str_value IS NULL END),
  CONSTRAINT feedback_body_sha256_size CHECK (octet_length(body_sha256) = 32),
  CONSTRAINT feedback_said_once UNIQUE (decision_id, source_type, source_id, idempotency_key)
) PARTITION BY RANGE (decision_id);

CREATE INDEX feedback_xid_idx ON feedback (xid);

CREATE TABLE reward_specs (
  spec_id text NOT NULL,
  version int NOT NULL,
  definition jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT reward_specs_pkey PRIMARY KEY (spec_id, version)
);


CREATE TABLE rewards (
  decision_id uuid NOT NULL,
  spec_id text NOT NULL,
  spec_version int NOT NULL,
  revision int NOT NULL,
  tenant text NOT NULL DEFAULT 'default',
  line text NOT NULL DEFAULT 'default',
  reward float8,
  feedback_count int NOT NULL,
  credits float8[],
  closed_at timestamptz NOT NULL DEFAULT now(),
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  CONSTRAINT rewards_pkey PRIMARY KEY (decision_id, spec_id, spec_version, revision),
  CONSTRAINT rewards_revision_positive CHECK (revision >= 1),
  CONSTRAINT rewards_reward_share CHECK (reward BETWEEN 0 AND 1),
  CONSTRAINT rewards_credits_share CHECK (0 <= ALL (credits) AND 1 >= ALL (credits)),
  CONSTRAINT rewards_feedback_count_positive CHECK (feedback_count >= 0)
) PARTITION BY RANGE (decision_id);

CREATE INDEX rewards_xid_idx ON rewards (xid);

CREATE TABLE model_versions (
  version text NOT NULL,
  line text NOT NULL DEFAULT 'default',
  parent text,
  base text NOT NULL,
  uri text NOT NULL,
  manifest jsonb NOT NULL,
  run_id uuid,
  status text NOT NULL DEFAULT 'candidate',
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT model_versions_pkey PRIMARY KEY (version),
  CONSTRAINT model_versions_status_known CHECK (status IN ('candidate', 'champion', 'retired', 'rejected')),
  CONSTRAINT model_versions_parent_fkey FOREIGN KEY (parent) REFERENCES model_versions (version)
);


CREATE TABLE promotions (
  line text NOT NULL,
  epoch bigint NOT NULL,
  previous_epoch bigint NOT NULL,
  action text NOT NULL,
  version text NOT NULL,
  canary_version text,
  canary_share float8 NOT NULL DEFAULT 0,
  actor text NOT NULL,
  reason text NOT NULL,
  run_id uuid,
  evaluation_id uuid,
  fencing_token bigint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT promotions_pkey PRIMARY KEY (line, epoch),
  CONSTRAINT promotions_action_known CHECK (action IN ('init', 'promote', 'rollback', 'freeze', 'unfreeze', 'canary')),
  CONSTRAINT promotions_epoch_next CHECK (epoch = previous_epoch + 1 AND previous_epoch >= 0),
  CONSTRAINT promotions_canary_share_range CHECK (canary_share BETWEEN 0 AND 1),
  CONSTRAINT promotions_canary_both CHECK ((canary_version IS NULL) = (canary_share = 0)),
  CONSTRAINT promotions_line_previous_epoch_key UNIQUE (line, previous_epoch),
  CONSTRAINT promotions_version_fkey FOREIGN KEY (version) REFERENCES model_versions (version),
  CONSTRAINT promotions_canary_version_fkey FOREIGN KEY (canary_version) REFERENCES model_versions (version)
);

CREATE UNIQUE INDEX promotions_run_id_key ON promotions (run_id) WHERE run_id IS NOT NULL AND action = 'promote';

CREATE TABLE training_runs (
  run_id uuid NOT NULL,
  line text NOT NULL DEFAULT 'default',
  champion text NOT NULL,
  produced text,
  fencing_token bigint NOT NULL,
  status text NOT NULL DEFAULT 'running',
  config jsonb NOT NULL DEFAULT '{}'::jsonb,
  seed bigint NOT NULL,
  spec_id text NOT NULL,
  spec_version int NOT NULL,
  xid_from xid8,
  xid_to xid8,
  system_identifier text,
  n_decisions int,
  skipped jsonb NOT NULL DEFAULT '{}'::jsonb,
  metrics jsonb NOT NULL DEFAULT '{}'::jsonb,
  error text,
  started_at timestamptz NOT NULL DEFAULT now(),
  ended_at timestamptz,
  CONSTRAINT training_runs_pkey PRIMARY KEY (run_id),
  CONSTRAINT training_runs_status_known CHECK (status IN ('running', 'promoted', 'rejected', 'failed', 'nothing_to_learn')),
  CONSTRAINT training_runs_ended_or_running CHECK ((status = 'running') = (ended_at IS NULL))
);

CREATE INDEX training_runs_line_started_at_idx ON training_runs (line, started_at);

CREATE TABLE evaluations (
  evaluation_id uuid NOT NULL,
  run_id uuid,
  line text NOT NULL DEFAULT 'default',
  version text NOT NULL,
  champion text NOT NULL,
  kind text NOT NULL,
  estimator text NOT NULL,
  estimate float8,
  low float8,
  high float8,
  alpha float8,
  n int,
  clusters int,
  effective_share float8,
  verdict text NOT NULL,
  reason text NOT NULL,
  detail jsonb NOT NULL DEFAULT '{}'::jsonb,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT evaluations_pkey PRIMARY KEY (evaluation_id),
  CONSTRAINT evaluations_kind_known CHECK (kind IN ('offline', 'parity', 'golden', 'canary')),
  CONSTRAINT evaluations_verdict_known CHECK (verdict IN ('pass', 'refuse', 'not_enough_evidence')),
  CONSTRAINT evaluations_interval CHECK (low <= estimate AND estimate <= high)
);

CREATE INDEX evaluations_line_created_at_idx ON evaluations (line, created_at);
CREATE INDEX evaluations_run_id_idx ON evaluations (run_id);

CREATE TABLE leases (
  name text NOT NULL,
  holder text NOT NULL,
  token bigint NOT NULL,
  expires_at timestamptz NOT NULL,
  CONSTRAINT leases_pkey PRIMARY KEY (name)
);


CREATE TABLE judge_leases (
  decision_id uuid NOT NULL,
  rubric text NOT NULL,
  lease_id uuid NOT NULL,
  expires_at timestamptz NOT NULL,
  attempts int NOT NULL DEFAULT 1,
  sampling_probability float8 NOT NULL,
  error text,
  CONSTRAINT judge_leases_pkey PRIMARY KEY (decision_id, rubric),
  CONSTRAINT judge_leases_attempts_positive CHECK (attempts >= 1),
  CONSTRAINT judge_leases_probability CHECK (sampling_probability > 0 AND sampling_probability <= 1)
);

CREATE INDEX judge_leases_lease_id_idx ON judge_leases (lease_id);

CREATE TABLE api_keys (
  key_id text NOT NULL,
  tenant text NOT NULL DEFAULT 'default',
  secret_hmac bytea NOT NULL,
  scopes text[] NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  revoked_at timestamptz,
  CONSTRAINT api_keys_pkey PRIMARY KEY (key_id)
);


