"""A recurrent model forecasts a series; its hidden state is carried from window to window, and its average is kept."""

from unbroken.preemption import StopFlag

stop = StopFlag.install()

import os
from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from unbroken import Identity, Run
from unbroken.exact.randomness import seed_all

STEPS, ROWS, WINDOW, HIDDEN = 200, 8, 24, 32


class Forecaster(torch.nn.Module):
    """The next value after each one of a window."""

    def __init__(self):
        super().__init__()
        self.cell = torch.nn.GRU(1, HIDDEN, batch_first=True)
        self.head = torch.nn.Sequential(torch.nn.Dropout(0.1), torch.nn.Linear(HIDDEN, 1))

    def forward(self, values, hidden):
        """Forecasts (rows, window) for values (rows, window), and the hidden state (1, rows, hidden) after them."""
        seen, hidden = self.cell(values.unsqueeze(2), hidden)
        return self.head(seen).squeeze(2), hidden


def make_series(length):
    """Rows (8, length) of two waves with noise; each row begins elsewhere."""
    time = torch.arange(length) + 37.0 * torch.arange(ROWS).unsqueeze(1)
    noise = torch.randn(ROWS, length, generator=torch.Generator().manual_seed(1))
    return torch.sin(time / 5) + 0.5 * torch.sin(time / 13) + 0.1 * noise


def measure_error(model, series):
    """Mean squared error of the forecasts for a series (rows, length) that is read from its start."""
    model.eval()
    with torch.no_grad():
        forecast, _ = model(series[:, :-1], torch.zeros(1, ROWS, HIDDEN))
    model.train()
    return torch.nn.functional.mse_loss(forecast, series[:, 1:]).item()


seed_all(0)
series, unseen = make_series(1500).split([1200, 300], dim=1)
model = Forecaster()
average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.95))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=STEPS)
carried = {"hidden": torch.zeros(1, ROWS, HIDDEN), "at": 0}

folder = Path(os.environ.get("UNBROKEN_FOLDER", "runs/time-series"))
state = {"model": model, "average": average, "optimizer": optimizer, "schedule": schedule, "carried": carried}
with Run(folder, identity=Identity({"lr": 0.01}), state=state, stop=stop, every=50) as run:
    for step in run.steps(STEPS):
        window = series[:, carried["at"] : carried["at"] + WINDOW + 1]
        forecast, hidden = model(window[:, :-1], carried["hidden"])
        loss = torch.nn.functional.mse_loss(forecast, window[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(model)
        carried.update(hidden=hidden.detach(), at=carried["at"] + WINDOW)
        if carried["at"] + WINDOW >= series.shape[1]:  # from the beginning again
            carried.update(hidden=torch.zeros(1, ROWS, HIDDEN), at=0)
        run.log(loss=loss)
        if step % 50 == 0:
            run.log(error=measure_error(average, unseen))
    run.export(folder / "final")
