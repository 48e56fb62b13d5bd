import pytest
import torch

from utility.bert_adam import BertAdam


def test_a_step_is_the_formula():
    parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = BertAdam([parameter], lr=0.1, weight_decay=0.5, tensor_norm=0)
    mean = square = torch.zeros(2)
    expected = parameter.detach().clone()
    for gradient in (torch.tensor([3.0, 4.0]), torch.tensor([-1.0, 0.5])):
        parameter.grad = gradient.clone()
        optimizer.step()
        mean, square = 0.9 * mean + 0.1 * gradient, 0.98 * square + 0.02 * gradient**2
        expected = expected - 0.1 * (mean / (square.sqrt() + 1e-6) + 0.5 * expected)
        torch.testing.assert_close(parameter.detach(), expected)


def test_each_tensor_is_clipped_by_itself():
    small, large = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    optimizer = BertAdam([small, large], tensor_norm=1.0)
    small.grad, large.grad = torch.tensor([0.3, 0.4]), torch.tensor([300.0, 400.0])
    optimizer.step()
    assert small.grad.norm().item() == pytest.approx(0.5)
    assert large.grad.norm().item() == pytest.approx(1.0, rel=1e-4)


def test_continuing_from_a_saved_state_changes_nothing():
    def steps(parameter, optimizer, numbers):
        for number in numbers:
            parameter.grad = torch.sin(torch.arange(3.0) + number)
            optimizer.step()

    whole = torch.nn.Parameter(torch.ones(3))
    steps(whole, BertAdam([whole]), range(4))
    first = torch.nn.Parameter(torch.ones(3))
    optimizer = BertAdam([first])
    steps(first, optimizer, range(2))
    second = torch.nn.Parameter(first.detach().clone())
    again = BertAdam([second])
    again.load_state_dict(optimizer.state_dict())
    steps(second, again, range(2, 4))
    assert torch.equal(second, whole)


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="betas in"):
        BertAdam([torch.nn.Parameter(torch.ones(1))], betas=(1.0, 0.9))
