"""What can be set, as RANKLOOP_ variables; a misspelt name is refused at start."""

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from contract.environment import refuse_unknown
from contract.rewards import RewardSpec
from trainer import spec_files
from trainer.adapters import RANK
from trainer.caps import Shares
from trainer.learner import Capacity
from trainer.objective import Objective, Weights
from trainer.spec_files import SpecRefused


class TrainerSettings(BaseSettings):
    """The trainer's settings; the first six are shared with the other processes."""

    model_config = SettingsConfigDict(
        env_prefix="RANKLOOP_", frozen=True, use_attribute_docstrings=True
    )

    database_url: str
    """PostgreSQL, as `postgresql+psycopg://user@host:port/database`."""
    redis_url: str
    """Redis or Valkey, as `redis://host:port/0` or `unix:///path`."""
    artifacts_url: str
    """Where model versions are stored: a folder or any fsspec URL."""
    secret: SecretStr = Field(min_length=16)
    """Signs the pointer to the live model; the same for service and trainer."""
    cache_dir: Path
    """Where fetched model versions are kept."""
    line: str = "default"
    """The line that this trainer improves."""

    trainer_poll_s: float = Field(default=5.0, gt=0)
    """How often rewards are derived and the pointer is repeated."""
    trainer_round_min_rewards: int = Field(default=500, ge=1)
    """The first round starts when so many decisions were rewarded."""
    trainer_round_growth: float = Field(default=2.0, ge=1, le=10)
    """Each round waits for so many times the rewards that the one before it waited for, `trainer_replay` at most."""
    trainer_reward_wait_s: float = Field(default=RewardSpec().wait_s, ge=0)
    """A decision's reward is derived once the decision is this old."""
    trainer_reward_spec: Path | None = None
    """How feedback becomes a reward, as a YAML or JSON file, whose `wait_s` then holds; unset, the built-in spec."""
    trainer_threads: int = Field(default=0, ge=0)
    """Threads of torch and ONNX Runtime; 0 takes every core this process may use."""
    trainer_nice: int = Field(default=10, ge=0, le=19)
    """How far the trainer stands back for the service on the same machine."""
    trainer_seed: int = 0
    """Every random choice of a round follows from it and from the round's number."""

    trainer_tune_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of queries that choose how far to go."""
    trainer_gate_share: float = Field(default=0.5, gt=0, lt=1)
    """Share of queries whose new decisions judge: to see a gain takes more answers than to make one."""
    trainer_replay: int = Field(default=20_000, ge=1)
    """Newest rewarded decisions that a round looks back on."""
    trainer_cache_bytes: int = Field(default=2 << 30, ge=0)
    """Activations kept in memory; what does not fit is computed again each time."""

    trainer_capacities: tuple[Capacity, ...] = Field(
        default=(Capacity.FUSION, Capacity.LAST_LAYER), min_length=1
    )
    """The rungs of the ladder that are climbed, as JSON: ["fusion", "last_layer", "lora", "everything"] are all."""
    trainer_precisions: tuple[Literal["float32", "int8", "float16"], ...] = Field(
        default=("float32", "int8", "float16"), min_length=1
    )
    """Variants that a new version gets, as JSON; those that its champion lacks are not tried again."""
    trainer_weights: Weights = Weights.STEP
    """What weighs a gradient, for a comparison: each `step`'s ratio, that of the whole `list`, or `none`."""
    trainer_cap: float = Field(default=2.0, ge=1)
    """Largest weight of one step."""
    trainer_ppo_clip: float | None = Field(default=None, gt=0, lt=1)
    """For a comparison: clip ratios as PPO does, to so much around 1, instead of weighting by them."""
    trainer_baseline: bool = True
    """Whether a reward counts by how much it differs from what was expected."""
    trainer_credit: bool = True
    """Whether what is known of single documents, such as which are cited, counts."""
    trainer_kl: tuple[float, ...] = Field(default=(0.1, 0.5), min_length=1)
    """Weights of the divergence from the champion among which the tune split chooses, as JSON: [0.1, 0.5]."""
    trainer_fusion_lr: float = Field(default=1e-2, gt=0)
    trainer_fusion_epochs: int = Field(default=4, ge=1)
    trainer_last_layer_lr: float = Field(default=1e-3, gt=0)
    trainer_last_layer_epochs: int = Field(default=3, ge=1)
    trainer_last_layer_replay: int = Field(default=2_000, ge=0)
    """The last layer learns from older rewards too, the newest of them, until there are so many with the fresh ones."""
    trainer_lora_rank: int = Field(default=RANK, ge=1)
    trainer_lora_lr: float = Field(default=3e-4, gt=0)
    trainer_lora_epochs: int = Field(default=2, ge=1)
    trainer_lora_min_rewards: int = Field(default=1_000, ge=1)
    """Adapters are not trained on fewer fresh rewards, those that tune and judge not counted."""
    trainer_everything_lr: float = Field(default=2e-5, gt=0)
    trainer_everything_epochs: int = Field(default=2, ge=1)
    trainer_everything_min_rewards: int = Field(default=5_000, ge=1)
    """The whole model is not trained on fewer fresh rewards, those that tune and judge not counted."""
    trainer_batch: int = Field(default=32, ge=1)
    """Decisions of one gradient step."""

    trainer_source_share: float = Field(default=0.1, gt=0, le=1)
    """Most that one of many sources may hold of the rewards by its type that train or judge; 1 does not bound it."""
    trainer_tenant_share: float = Field(default=0.5, gt=0, le=1)
    """Most that one of several tenants may hold of the rewards that train or judge; 1 does not bound it."""
    trainer_suspect: bool = True
    """Whether a round leaves out sources whose rewards go against what the others say of the same documents."""

    trainer_alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Chance of promoting a model that is no better, over all rounds against one champion."""
    trainer_pairs: int = Field(default=0, ge=0)
    """Pairs of answers, the champion's and a candidate's, that a round may ask a judge with a reader for, for each
    candidate; the gate then goes by them and not by the log. 0 asks for none."""
    trainer_pairs_wait_s: float = Field(default=3600.0, ge=0)
    """How long a round waits for them."""
    trainer_leave_one_out: float = Field(default=0.0, ge=0, le=1)
    """Share of the decisions that teach whose answer is made again without each of its documents, to credit them."""
    trainer_reference: float = Field(default=0.0, ge=0, le=1)
    """Share of those whose answer is made again from the base's order: its worth is then what was to be expected."""
    trainer_canary: bool = False
    """Whether a candidate that passes the gate answers a tenth of the sessions, then half, before it is promoted."""
    trainer_canary_days: float = Field(default=14.0, gt=0)
    """A canary that is undecided after so long ends, and the champion stays."""
    trainer_canary_look_s: float = Field(default=60.0, ge=0)
    """How often a canary is compared with its champion, and the champion with a base that is held back."""
    trainer_lease_s: float = Field(default=60.0, gt=0)
    """How long a lease outlives a trainer that stopped renewing it."""
    trainer_metrics_host: str = "127.0.0.1"
    trainer_metrics_port: int = Field(default=9091, ge=0, le=65535)
    """Prometheus metrics; 0 takes any free port."""

    _spec: RewardSpec = PrivateAttr()

    @model_validator(mode="after")
    def _read_the_spec(self) -> Self:
        """Once: a file that changes later is read at the next start."""
        try:
            self._spec = (
                RewardSpec(wait_s=self.trainer_reward_wait_s)
                if self.trainer_reward_spec is None
                else spec_files.read(self.trainer_reward_spec)
            )
        except SpecRefused as refusal:
            raise ValueError(str(refusal)) from refusal
        return self

    @model_validator(mode="after")
    def _refuse_unknown(self) -> Self:
        refuse_unknown("trainer", type(self).model_fields, os.environ)
        return self

    @model_validator(mode="after")
    def _leave_something_to_train_on(self) -> Self:
        if self.trainer_tune_share + self.trainer_gate_share >= 1:
            raise ValueError("trainer_tune_share and trainer_gate_share leave no query to train on")
        return self

    def public(self) -> dict[str, Any]:
        """The trainer's own settings, as a run remembers them."""
        own = {name for name in type(self).model_fields if name.startswith("trainer_")}
        return self.model_dump(mode="json", include=own)

    @property
    def objective(self) -> Objective:
        """What a rung minimises."""
        return Objective(
            weights=self.trainer_weights,
            cap=self.trainer_cap,
            ppo_clip=self.trainer_ppo_clip,
            baseline=self.trainer_baseline,
            credit=self.trainer_credit,
        )

    @property
    def shares(self) -> Shares:
        """The most that one source or tenant may hold."""
        return Shares(source=self.trainer_source_share, tenant=self.trainer_tenant_share)

    @property
    def reward_spec(self) -> RewardSpec:
        """How feedback becomes a reward."""
        return self._spec
