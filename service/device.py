"""Where models run: CUDA when it is there, else the CPU, and never another place than was asked for in silence.

ONNX Runtime falls back to the CPU without an error when the CUDA libraries do not load, so a graph of one node is
opened to see what it really does.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from contract import environment
from contract.refusals import Refusal
from service.settings import Device

logger = logging.getLogger(__name__)

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"

CUDA_OPTIONS: Final = {"use_tf32": "0"}
"""Float32 is float32: with TF32's ten bits of mantissa, golden pairs would score otherwise than on a CPU."""

BATCH_TOKENS: Final = {CPU: 1024, CUDA: 8192}
"""On a CPU larger batches gain nothing. A GPU wants more work at once, while that stays in its cache."""

_IDENTITY: Final = bytes.fromhex(
    "080812003a370a100a017812017922084964656e746974791201675a0f0a0178120a0a08080112040a02080162"
    "0f0a0179120a0a08080112040a02080142040a001011"
)
"""An ONNX graph that returns its one number."""


class DeviceUnavailable(Refusal):
    """The device that was asked for does not run models here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """How sessions are opened in this process."""

    provider: str
    threads: int

    @property
    def is_cuda(self) -> bool:
        return self.provider == CUDA

    @property
    def batch_tokens(self) -> int:
        """Of one inference, where nothing else is set."""
        return BATCH_TOKENS[self.provider]

    def session(self, model: str | bytes) -> onnxruntime.InferenceSession:
        """Raises `DeviceUnavailable` where ONNX Runtime would use another device."""
        session = _session(model, provider=self.provider, threads=self.threads)
        active = session.get_providers()[0]
        if active != self.provider:
            message = f"asked for {self.provider}, ONNX Runtime would use {active}"
            raise DeviceUnavailable(message)
        return session

    def run(
        self,
        session: onnxruntime.InferenceSession,
        inputs: Mapping[str, NDArray[Any]],
        run_options: onnxruntime.RunOptions | None = None,
    ) -> NDArray[Any]:
        """The first output. To a GPU, inputs are copied before the run, not by it."""
        if not self.is_cuda:
            return np.asarray(session.run(None, dict(inputs), run_options)[0])
        binding = session.io_binding()
        for name, values in inputs.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(values))
        binding.bind_output(session.get_outputs()[0].name)
        session.run_with_iobinding(binding, run_options)
        return np.asarray(binding.copy_outputs_to_cpu()[0])


def choose(device: Device, *, threads: int) -> Runtime:
    """The runtime of this process.  Raises `DeviceUnavailable` when `cuda` was asked for and does not work."""
    cores = threads or environment.cores()
    cpu = Runtime(provider=CPU, threads=cores)
    if device is Device.CPU:
        return cpu
    cuda = Runtime(provider=CUDA, threads=cores)
    try:
        _check_cuda(cuda)
    except DeviceUnavailable as refusal:
        if device is Device.CUDA:
            raise
        logger.info("device.cpu reason=%s", refusal)
        return cpu
    return cuda


def _check_cuda(runtime: Runtime) -> None:
    if CUDA not in onnxruntime.get_available_providers():
        raise DeviceUnavailable("this build of ONNX Runtime has no CUDA; install the gpu extra")
    # The CUDA libraries that come as Python packages are found only when asked for.
    onnxruntime.preload_dlls()
    runtime.session(_IDENTITY)


def _session(model: str | bytes, *, provider: str, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    providers = [CPU] if provider == CPU else [(provider, CUDA_OPTIONS), CPU]
    return onnxruntime.InferenceSession(model, options, providers=providers)
