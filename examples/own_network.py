"""A network of your own on a machine of your own: what limits it, and what helps.

Run it with `python examples/own_network.py`; docs/tutorial.md explains it step by step.
"""

from pathlib import Path

import torch
from torch import nn

import flexhyca as fh
from flexhyca import api

MACHINE = Path(__file__).with_name("edge.yaml")


class Block(nn.Module):
    """A depthwise convolution, one across the channels, and a way around both."""

    def __init__(self, channels):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        y = torch.relu(self.norm(self.depthwise(x)))
        return torch.relu(self.pointwise(y) + x)


class Net(nn.Module):
    """Ten classes of 32 x 32 colour images."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.block = Block(32)
        self.pool = nn.MaxPool2d(2)
        self.wide = nn.Conv2d(32, 128, 3, padding=1)
        self.fc = nn.Linear(128, 10)

    def forward(self, x):
        x = self.pool(self.block(torch.relu(self.stem(x))))
        return self.fc(torch.relu(self.wide(x)).mean((2, 3)))


def measure(model, *changes):
    """Quantise, choose neurons to protect, compile, and run the cycle model once."""
    config = fh.load_config(MACHINE, changes)
    network = fh.quantise(model, config)
    important = fh.select_important(api.place_neurons(network, "random"), network, config)
    return fh.simulate(fh.compile(network, config, important), values="none")


def show(title, result):
    """The whole run in a line; then what sets the pace of each layer, for how much of its time."""
    print(f"{title}: {result.cycles:,} cycles, the array is used to {result.utilization:.0%}")
    for layer in result.layers.itertuples():
        print(f"  {layer.name:15} {layer.cycles:8,}  {layer.bound:7} {layer.bound_share:4.0%}")


def main():
    torch.manual_seed(0)
    model = fh.load_model(Net().eval(), torch.zeros(1, 3, 32, 32))

    show("edge", measure(model))
    show("more bandwidth", measure(model, "dram.bytes_per_cycle=16"))
    show("other array", measure(model, "dram.bytes_per_cycle=16", "array.rows=32", "array.cols=8"))

    print("a fifth of the neurons protected:")
    for size in (16, 32, 64):
        changes = ("dram.bytes_per_cycle=16", "protection.s_th=0.2", f"dppu.size={size}")
        result = measure(model, *changes)
        share = result.dram["dppu_operand"] / sum(result.dram.values())
        print(f"  dppu.size {size}: {result.cycles:,} cycles, {share:.0%} of the DRAM bytes")


if __name__ == "__main__":
    main()
