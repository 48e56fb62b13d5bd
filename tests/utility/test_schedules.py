import math

import pytest
import torch

from utility import schedules


def rates(build, steps, *arguments, lr=(1.0,), **options):
    """Rates of each group before each step."""
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in lr]
    optimizer = torch.optim.SGD(groups)
    schedule = build(optimizer, *arguments, **options)
    seen = []
    for _ in range(steps):
        seen.append(tuple(group["lr"] for group in optimizer.param_groups))
        optimizer.step()
        schedule.step()
    return seen if len(lr) > 1 else [rate for (rate,) in seen]


def test_constant():
    assert rates(schedules.constant, 3) == [1, 1, 1]


def test_linear_warms_up_from_zero_and_ends_at_zero():
    seen = rates(schedules.linear, 21, 20, 0.2)
    assert seen[:5] == [0, 0.25, 0.5, 0.75, 1.0]
    assert seen[12] == pytest.approx(0.5) and seen[19] == pytest.approx(1 / 16) and seen[20] == 0
    assert rates(schedules.linear, 2, 4, 0.0) == [1.0, 0.75]


def test_clip4clip_drops_where_warm_up_meets_cosine():
    seen = rates(schedules.clip4clip_cosine, 21, 20, 0.1)
    assert seen[:2] == [0, 0.5]
    assert seen[2] == pytest.approx(0.5 * (1 + math.cos(0.1 * math.pi))) and seen[2] < 1
    assert seen[10] == pytest.approx(0.5) and seen[20] == pytest.approx(0, abs=1e-12)


def test_warm_up_and_cosine_keep_their_floor_and_the_groups_their_multipliers():
    seen = rates(schedules.warmup_cosine, 201, 200, 1e-3, lr=(5e-7, 1e-3))
    assert seen[0] == pytest.approx((5e-12, 1e-8))
    assert seen[7] == pytest.approx((1.7500325e-07, 0.0003500065))
    assert seen[20] == pytest.approx((5e-7, 1e-3))
    assert seen[140] == pytest.approx((1.25e-7, 2.5e-4))
    assert seen[200] == pytest.approx((5e-12, 1e-8))


def test_the_recognisers_change_their_rate_once_per_epoch():
    seen = rates(schedules.epoch_cosine, 6, 2, 3, 0.8, lr=(0.8,))
    assert seen == pytest.approx([0.8] * 3 + [(0.8 + 1e-6) / 2] * 3)


@pytest.mark.parametrize("name", ["linear", "clip4clip_cosine"])
@pytest.mark.parametrize(("steps", "warmup"), [(0, 0.1), (10, 1.0), (10, -0.1)])
def test_impossible_lengths_are_refused(name, steps, warmup):
    with pytest.raises(ValueError, match=r"step|warm-up"):
        rates(schedules.SCHEDULES[name], 1, steps, warmup)


def test_a_restored_schedule_continues():
    def fresh():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        return optimizer, schedules.linear(optimizer, 10, 0.2)

    optimizer, schedule = fresh()
    for _ in range(4):
        optimizer.step()
        schedule.step()
    other, restored = fresh()
    other.load_state_dict(optimizer.state_dict())
    restored.load_state_dict(schedule.state_dict())
    for pair in ((optimizer, schedule), (other, restored)):
        pair[0].step()
        pair[1].step()
    assert other.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"] == pytest.approx(5 / 8)


def test_advancing_equals_stepping():
    rates = []
    for way in ("step", "advance"):
        optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": 0.1}, {"params": [torch.zeros(1)], "lr": 0.2}])
        schedule = schedules.epoch_cosine(optimizer, 5, 3, 0.1)
        if way == "step":
            for _ in range(7):
                optimizer.step()
                schedule.step()
        else:
            schedules.advance(schedule, 7)
        optimizer.step()
        schedule.step()
        rates.append([group["lr"] for group in optimizer.param_groups] + [schedule.last_epoch])
    assert rates[0] == rates[1]
