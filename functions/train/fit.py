"""The training loops. Data is made in `data`, the networks in `networks`; nothing is written here."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from functions.train.data import Picture, relit, windows
from functions.train.networks import WIDTHS, Classifier, Detector, Widths
from functions.train.scenes import LABELS

WINDOW = 320  # pixels; side of the detector's training windows
Say = Callable[[str], None]


def fit_detector(season: list[Picture], steps: int, batch: int, seed: int, say: Say) -> Detector:
    """Train the detector on random windows of the season's pictures."""
    torch.manual_seed(seed)
    network = Detector().to(memory_format=torch.channels_last)
    stepper, schedule = _optimiser(network, 4e-3, steps)
    begun, mean = time.monotonic(), 0.0
    for step, (pixels, truth) in enumerate(windows(season, WINDOW, batch, steps, np.random.default_rng([seed, 2]))):
        loss = detector_loss(network.raw(_tensor(pixels)), torch.from_numpy(truth))
        _descend(network, loss, stepper, schedule)
        mean += (float(loss.detach()) - mean) * (0.02 if step > 50 else 0.2)
        if step % 50 == 49:
            say(f"detector step {step + 1}/{steps} loss {mean:.3f} {time.monotonic() - begun:.0f} s")
    return network.eval()


def detector_loss(raw: Tensor, truth: Tensor) -> Tensor:
    """Focal loss on the heat, absolute error on sizes and offsets near the centres."""
    heat, weight = truth[:, 0], truth[:, 5]
    insects = (heat == 1).sum().clamp(min=1)
    logit = raw[:, 0]
    share = logit.sigmoid()
    hit = -functional.logsigmoid(logit) * (1 - share) ** 2 * (heat == 1)
    miss = -functional.logsigmoid(-logit) * share**2 * (1 - heat) ** 4
    size = ((raw[:, 1:3] - truth[:, 1:3]).abs().sum(1) * weight).sum() / weight.sum().clamp(min=1)
    offset = ((raw[:, 3:5] - truth[:, 3:5]).abs().sum(1) * weight).sum() / weight.sum().clamp(min=1)
    return (hit + miss).sum() / insects + size + offset * 0.5


def fit_classifier(season: list[Picture], epochs: int, seed: int, say: Say, widths: Widths = WIDTHS) -> Classifier:
    """Train the classifier on the season's crops."""
    torch.manual_seed(seed)
    crops, kinds = np.concatenate([p.crops for p in season]), np.concatenate([p.kinds for p in season])
    rng, batch = np.random.default_rng([seed, 3]), 192
    network = Classifier(len(LABELS), widths).to(memory_format=torch.channels_last)
    steps = epochs * (len(crops) // batch)
    stepper, schedule = _optimiser(network, 4e-3, steps)
    for epoch in range(epochs):
        order = rng.permutation(len(crops))[: len(crops) // batch * batch].reshape(-1, batch)
        losses = [_classifier_step(network, crops[few], kinds[few], rng, stepper, schedule) for few in order]
        say(f"classifier epoch {epoch + 1}/{epochs} of {len(crops)} crops loss {np.mean(losses):.4f}")
    return network.eval()


def _classifier_step(
    network: Classifier, crops: NDArray[np.uint8], kinds: NDArray[np.int64], rng: np.random.Generator,
    stepper: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler,
) -> float:  # fmt: skip
    pixels = relit(crops.astype(np.float32) / np.float32(255), rng).transpose(0, 3, 1, 2)
    for axes in ((2,), (3,)):
        chosen = rng.random(len(pixels)) < 0.5
        pixels[chosen] = np.flip(pixels[chosen], axes)
    if rng.random() < 0.5:
        pixels = pixels.transpose(0, 1, 3, 2)
    loss = functional.cross_entropy(network(_tensor(pixels)), torch.from_numpy(kinds), label_smoothing=0.03)
    _descend(network, loss, stepper, schedule)
    return float(loss.detach())


def _optimiser(
    network: nn.Module, rate: float, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    stepper = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.01)
    return stepper, torch.optim.lr_scheduler.OneCycleLR(stepper, rate, total_steps=max(steps, 2), pct_start=0.15)


def _descend(
    network: nn.Module, loss: Tensor, stepper: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler
) -> None:
    stepper.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    stepper.step()
    schedule.step()


def _tensor(pixels: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).contiguous(memory_format=torch.channels_last)
