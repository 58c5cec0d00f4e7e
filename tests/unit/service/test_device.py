import os

import numpy as np
import onnxruntime
import pytest

from service import device
from service.device import CPU, CUDA, DeviceUnavailable, Runtime
from service.settings import Device


def test_a_cpu_is_what_there_is_without_the_gpu_extra() -> None:
    runtime = device.choose(Device.AUTO, threads=1)

    assert runtime == Runtime(provider=CPU, threads=1)


def test_zero_threads_are_all_the_cores_of_this_process() -> None:
    assert device.choose(Device.CPU, threads=0).threads == len(os.sched_getaffinity(0))


def test_cuda_is_refused_where_the_build_has_none() -> None:
    with pytest.raises(DeviceUnavailable, match="gpu extra"):
        device.choose(Device.CUDA, threads=1)


@pytest.fixture
def silent_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build with CUDA on a machine whose libraries do not load: ONNX Runtime says nothing and takes the CPU."""
    real = onnxruntime.InferenceSession

    def fall_back(model: str | bytes, options: object, providers: list[object]) -> object:
        assert providers == [(CUDA, {"use_tf32": "0"}), CPU]
        return real(model, options, providers=[CPU])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(onnxruntime, "InferenceSession", fall_back)


def test_a_silent_fallback_is_refused_where_cuda_was_asked_for(silent_fallback: None) -> None:
    with pytest.raises(DeviceUnavailable, match=f"ONNX Runtime would use {CPU}"):
        device.choose(Device.CUDA, threads=1)


def test_a_silent_fallback_is_noticed_otherwise(
    silent_fallback: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    assert device.choose(Device.AUTO, threads=1).provider == CPU
    assert "device.cpu" in caplog.text


def test_a_session_of_a_real_graph_answers() -> None:
    session = Runtime(provider=CPU, threads=1).session(device._IDENTITY)

    assert session.run(None, {"x": [7.0]})[0].tolist() == [7.0]


@pytest.mark.parametrize("provider", [CPU, CUDA])
def test_a_run_is_the_same_with_bound_inputs_and_without(provider: str) -> None:
    session = Runtime(provider=CPU, threads=1).session(device._IDENTITY)
    every_second = np.arange(2, dtype=np.float32)[::2]

    found = Runtime(provider=provider, threads=1).run(session, {"x": every_second + 7})

    assert found.tolist() == [7.0]


@pytest.mark.parametrize("provider", [CPU, CUDA])
def test_a_run_ends_when_its_options_say_so(provider: str) -> None:
    session = Runtime(provider=CPU, threads=1).session(device._IDENTITY)
    options = onnxruntime.RunOptions()
    options.terminate = True

    with pytest.raises(Exception, match="terminate"):
        Runtime(provider=provider, threads=1).run(session, {"x": np.ones(1, np.float32)}, options)


def test_a_gpu_is_given_more_tokens_at_once() -> None:
    tokens = [Runtime(provider=provider, threads=1).batch_tokens for provider in (CPU, CUDA)]

    assert tokens == [1024, 8192]
