"""Train the shipped digits network and write its weights.

    python -m flexhyca.compiler.networks.train_digits [FILE]

Fixed seed, one thread; a different torch version may still give slightly different weights.
Trains on the 1,437 training images only; the 360 held-out ones are looked at once, at the end.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from ..data import digits_dataset, normalise
from . import NETWORKS
from .digits import Digits

SEED, EPOCHS, BATCH = 20, 60, 64


def _shift(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Images moved by up to one pixel, the background value moving in."""
    dy, dx = (int(v) for v in torch.randint(0, 3, (2,), generator=generator))
    padded = F.pad(x, (1, 1, 1, 1), value=float(x.min()))
    return padded[:, :, dy : dy + 8, dx : dx + 8]


def train() -> tuple[Digits, float]:
    """The trained network in evaluation mode, and its accuracy on the held-out images."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    entry = NETWORKS["digits"]
    data, held_out = digits_dataset("train"), digits_dataset("test")
    x = torch.from_numpy(normalise(data.images, entry.mean, entry.std))
    y = torch.from_numpy(np.asarray(data.labels))
    net = Digits()
    steps = EPOCHS * (len(x) // BATCH)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.1, total_steps=steps)
    for _ in range(EPOCHS):
        order = torch.randperm(len(x), generator=generator)
        for i in range(len(x) // BATCH):
            pick = order[i * BATCH : (i + 1) * BATCH]
            loss = F.cross_entropy(net(_shift(x[pick], generator)), y[pick], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    net.eval()
    with torch.no_grad():
        guess = net(torch.from_numpy(normalise(held_out.images, entry.mean, entry.std))).argmax(1)
    return net, float((guess.numpy() == held_out.labels).mean())


def train_digits() -> None:
    """Train, write the weights, print the held-out accuracy."""
    default = Path(__file__).with_name("digits.safetensors")
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    net, accuracy = train()
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    save_file(state, target, metadata={"network": "digits", "held_out_accuracy": f"{accuracy:.4f}"})
    print(f"{target.name}: held-out accuracy {accuracy:.4f}, {target.stat().st_size} bytes")


if __name__ == "__main__":
    train_digits()
