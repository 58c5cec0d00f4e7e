import os

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

    def fall_back(model: str | bytes, options: object, providers: list[str]) -> object:
        assert providers == [CUDA, CPU]
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
