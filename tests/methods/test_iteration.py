"""What a step shares between the methods: clipping, monitors, several processes."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from crossem.methods import Iteration, StepOutput, WeightAverage


class TwoTerms(Iteration):
    """Linear losses with known gradients."""

    def losses(self, engine, batch):
        first, second = engine.network
        terms = {"first": 30.0 * first.weight.sum(), "second": 0.5 * second.weight.sum()}
        return StepOutput(terms, batch["source"]["image"], {"accuracy": 0.25, "progress": torch.tensor(0.5)})


def engine_of(network, optimizer):
    state = SimpleNamespace(device=torch.device("cpu"), iteration=1, output=None)
    return SimpleNamespace(
        network=network, optimizer=optimizer, scaler=None, amp=False, state=state, fire_event=lambda event: None
    )


def test_each_parameter_group_is_clipped_alone():
    network = torch.nn.ModuleList([torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)])
    before = [p.item() for p in network.parameters()]
    optimizer = torch.optim.SGD([{"params": list(n.parameters())} for n in network], lr=1.0)
    step = TwoTerms(WeightAverage(network), clip_norm=5.0)
    output = step(engine_of(network, optimizer), {"source": {"image": torch.zeros(1, 1, 2, 2, 2)}})
    moved = [b - p.item() for b, p in zip(before, network.parameters(), strict=True)]
    assert moved == pytest.approx([5.0, 0.5], rel=1e-4)
    assert output["loss"] == pytest.approx(30 * before[0] + 0.5 * before[1], rel=1e-5)
    assert output["terms"]["accuracy"] == 0.25 and output["terms"]["progress"] == 0.5


TWO_PROCESSES = """
import types
import torch, torch.distributed as dist
from crossem.methods import Iteration, StepOutput, WeightAverage
from crossem.methods.iteration import average_gradients

class Square(Iteration):
    def losses(self, engine, batch):
        prediction = engine.network(batch["source"]["image"])
        return StepOutput({"square": prediction.square().mean()}, prediction)

def step(network, x):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    state = types.SimpleNamespace(device=torch.device("cpu"), iteration=1)
    engine = types.SimpleNamespace(network=network, optimizer=optimizer, scaler=None, amp=False, state=state,
                                   fire_event=lambda event: None)
    Square(WeightAverage(network))(engine, {"source": {"image": x}})
    return list(network.parameters())

def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))

x = torch.randn(6, 3, generator=torch.Generator().manual_seed(1)) * torch.arange(1, 7)[:, None]
whole = step(network(), x)
dist.init_process_group("gloo")
torch.testing.assert_close(step(network(), x.chunk(2)[dist.get_rank()]), whole)
unused = torch.nn.Linear(2, 2)
average_gradients(list(unused.parameters()))
assert unused.weight.grad is None
dist.destroy_process_group()
"""


def test_a_step_of_two_processes_is_that_of_the_whole_batch(tmp_path):
    (tmp_path / "check.py").write_text(TWO_PROCESSES)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    process = subprocess.run([*launcher, tmp_path / "check.py"], capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr[-2000:]
