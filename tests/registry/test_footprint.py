"""What a version is said to take in memory is what it takes."""

from __future__ import annotations

import gc
import json
import tracemalloc

import numpy as np
import pytest

from forecastle.registry.bundle import load_bundle
from forecastle.registry.declaration import ModelType
from forecastle.registry.footprint import size_of
from forecastle.registry.training import Fitted


def test_a_bundle_takes_what_the_allocator_says(model_type: ModelType, fitted: Fitted) -> None:
    files = fitted.bundle.files()
    load_bundle(model_type, files)  # what is imported and interned once does not count
    gc.collect()
    tracemalloc.start()
    bundle = load_bundle(model_type, files)
    gc.collect()
    allocated, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size_of(bundle) == pytest.approx(allocated, rel=0.15)


def test_what_is_there_once_counts_once_and_code_not_at_all() -> None:
    shared = [float(number) for number in range(1_000)]
    alone = size_of(shared)
    assert size_of([shared, shared]) - alone < 200
    assert size_of((json, ModelType, size_of, len)) < 200


def test_an_array_counts_with_its_numbers() -> None:
    assert size_of({"weights": np.zeros(100_000)}) > 800_000


def test_what_holds_itself_is_counted_and_done() -> None:
    ring: list[object] = []
    ring.append(ring)
    assert size_of(ring) < 200
