"""Energy counters, made up: the machine of a test tells none."""

import json
import sys
from types import SimpleNamespace

import pytest

from moesimvae.methods import energy


@pytest.fixture
def counters(tmp_path, monkeypatch):
    """Set two processors and a part of the first, in µJ; both wrap at 1,000 J."""
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)

    def write(first, second):
        values = {"intel-rapl:0": first, "intel-rapl:1": second, "intel-rapl:0:0": first}
        for name, value in values.items():
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "energy_uj").write_text(f"{value}\n")
            (tmp_path / name / "max_energy_range_uj").write_text("1000000000\n")

    return write


def test_processors_are_summed_over_their_counters_wraps(counters):
    counters(100_000_000, 999_000_000)
    meter = energy.Meter(gpu=False)
    assert meter.joules() == 0
    counters(150_000_000, 4_000_000)  # 50 J, and 5 J over the end
    meter.sample()
    counters(151_000_000, 3_000_000)  # 1 J, and 999 J over the end
    assert meter.joules() == pytest.approx(50 + 5 + 1 + 999)


def test_a_machine_that_does_not_tell_has_none(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "none")
    assert energy.Meter(gpu=True).joules() is None


def test_gpus_are_added(counters, monkeypatch):
    counters(0, 0)
    millijoules = [5_000]
    nvml = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda i: i,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: millijoules[0],
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    meter, without = energy.Meter(gpu=True), energy.Meter(gpu=False)
    millijoules[0] += 2_500
    counters(1_000_000, 0)
    assert meter.joules() == pytest.approx(1 + 2.5)
    assert without.joules() == pytest.approx(1)


def test_a_run_says_what_it_took(counters, monkeypatch, tmp_path):
    counters(0, 0)
    monkeypatch.setattr(energy.Meter, "joules", lambda meter: 12.5)
    from moesimvae.methods import runner

    cost = runner.Cost(energy_j=energy.Meter(gpu=False).joules())
    (tmp_path / "result.json").write_text(json.dumps({"status": "ok", "reason": ""}))
    assert runner.account(cost, tmp_path, 100, 1)["energy_j"] == 12.5
