"""Synthetic measurements of a run, and what a figure or a page shows of them."""

import re
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from jaxrl.results.recorder import Recorder
from jaxrl.results.sinks import Chunk, Plan, RunSummary

SEEDS, UPDATES, LENGTH = 64, 200, 20
WIDTH, HEIGHT = 960, 600

VOID = {"meta", "img", "br", "hr", "link", "input"}


def record(run, arm, rate, steps=128, failed=None, seeds=SEEDS, upto=UPDATES, end=True, scale=500.0):
    """Records learning curves that rise to ``scale``, and a gap that falls to zero."""
    rng = np.random.default_rng(0)
    reached = 1 - np.exp(-rate * np.arange(1, UPDATES + 1))
    returns = scale * reached * rng.uniform(0.8, 1.0, (seeds, 1)) + rng.normal(0, 10, (seeds, UPDATES))
    returns[:, :3] = np.nan
    gap = np.maximum(0.0, scale * (0.9 - reached)) * rng.uniform(0.5, 1.5, (seeds, 1))
    recorder = Recorder(run, arm)
    recorder.begin(Plan(np.arange(seeds), UPDATES, LENGTH, steps, 1))
    for first in range(0, upto, LENGTH):
        last = first + LENGTH
        measured = {"episode_return": returns[:, first:last]}, {"greedy_optimality_gap": gap[:, last - 1]}
        recorder.chunk(Chunk(first, np.arange(seeds), *measured, 0.5))
    if end:
        recorder.end(RunSummary(90.0, 12.0, upto < UPDATES, failed or {}))


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.size == (WIDTH, HEIGHT)
        return np.asarray(image.convert("RGB")).astype(int)


def shows(path, colour, tolerance=12):
    """Whether at least 30 pixels have a colour."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return (np.abs(pixels(path) - wanted).max(-1) <= tolerance).sum() >= 30


class Page(HTMLParser):
    """Collects the text and the attributes of a page, and refuses tags that are not closed in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.stack, self.texts, self.scripts, self.attributes, self.tags = [], [], [], [], set()
        self.feed(text)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] == "script":
            self.scripts.append(data)
        elif not self.stack or self.stack[-1] != "style":
            self.texts.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))
