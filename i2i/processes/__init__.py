"""Training with several processes: the only room that uses torch.distributed.

`i2i run config.yaml --nproc 2` starts torchrun's agent here; on several hosts torchrun or Slurm starts `i2i run`
itself. All processes have the same weights, optimizers and pools. Each gets its share of the batch, and gradients are
averaged once per player. Any process could thus write the checkpoint, and any number of them can resume a run.

    joining.py     what processes need to meet and to agree on
    launch.py      `i2i run config.yaml --nproc 2`
    divided.py     networks of which each process holds only a part: `train.shard: true`
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import ConfigError, I2IError, ResourceError
from .divided import divide, load_state, state_of
from .joining import meeting, number, refuse_disagreement, refuse_variables
from .launch import first_with, launch

__all__ = [
    "ProcessGroup",
    "alone",
    "beside",
    "join",
    "launch",
    "leave",
    "load_state",
    "name_rank",
    "rank",
    "state_of",
]


def rank() -> int:
    """Return the rank of this process, as set by torchrun; 0 for a single process."""
    return number("RANK", 0)


def beside() -> int:
    """Return how many processes train together on this machine, as set by torchrun."""
    return number("LOCAL_WORLD_SIZE", 1)


def alone() -> bool:
    """Return whether this is the only training process."""
    return number("WORLD_SIZE", 1) == 1


@contextmanager
def name_rank() -> Iterator[None]:
    """Prefix errors with the rank of this process, if there are several; of equal ones, only the first is raised.

    Raises:
        SystemExit: another process of `launch` has raised the same error.
    """
    try:
        yield
    except I2IError as error:
        if alone():
            raise
        if not first_with(str(error)):
            raise SystemExit(error.exit_code) from error
        error.args = (f"rank {rank()}: {error}",)
        raise


class ProcessGroup:
    """The process group, as seen by process `rank` of `size`. For one process every method is the identity."""

    def __init__(self, rank: int = 0, size: int = 1, store: dist.Store | None = None) -> None:
        self.rank, self.size, self._store = rank, size, store
        self._beat = 0.0

    def average(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, with a single all-reduce."""
        if self.size == 1 or not tensors:
            return
        widest = torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32
        flat = torch.cat([tensor.flatten().to(widest) for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.size
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def whole_batch(self, fn: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Apply `fn` to the batch of all processes [N * size, ...] and return this process's part [N, ...]."""
        if self.size == 1:
            return fn(x)
        parts = [torch.empty_like(x) for _ in range(self.size)]
        dist.all_gather(parts, x.detach().contiguous())
        return fn(torch.cat(parts))[self.rank * len(x) : (self.rank + 1) * len(x)]

    def norm(self, own: Tensor, divided: bool) -> Tensor:
        """Return the norm of gradients, given that of those on this process, which are pieces if they are divided."""
        if not divided:
            return own
        norms = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(norms, own)
        return torch.linalg.vector_norm(torch.stack(norms))

    def same_start(self, module: nn.Module, device: torch.device, *, shard: bool = False) -> nn.Module:
        """Move a module to a device, with the weights of the first process and batch norm over all processes.

        Args:
            module: the same on all processes, but for its weights.
            device: where this process trains.
            shard: divide the weights among the processes.

        Raises:
            ConfigError: batch norm cannot be synchronised on this device, or the weights cannot be divided.
        """
        if self.size == 1:
            if shard:
                raise ConfigError(
                    "train.shard divides networks among processes, and there is only one: start several with "
                    "--nproc, or set train.shard=false"
                )
            return module.to(device)
        if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules()):
            if device.type == "cpu":
                raise ConfigError(
                    "batch norm over several processes needs GPUs: train with one process, or use a norm that "
                    "treats each picture separately (norm: instance)"
                )
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        if not shard:
            module.to(device)
        with torch.no_grad():
            for tensor in module.state_dict().values():
                if isinstance(tensor, Tensor):
                    dist.broadcast(tensor, src=0)
        if shard:
            divide(module, device)
        return module.to(device)

    def agree(self, topic: str, values: Callable[[], Mapping[str, str]]) -> None:
        """Reject values, such as settings, that are not the same on all processes; `topic` is used once.

        Raises:
            ConfigError: they differ; it names one and both of its values.
        """
        if self._store is not None:
            refuse_disagreement(self._store, self.rank, self.size, topic, values())

    def wait(self) -> None:
        """Wait until all processes have reached this point."""
        if self.size > 1:
            dist.barrier()

    def part(self) -> None:
        """Wait for the others at the end: one that leaves early breaks connections that they still use."""
        with self.watch(lambda: 0):
            self.wait()

    def beat(self, step: int) -> None:
        """Tell the others, at most once a second, which step this process has reached."""
        if self._store is not None and time.monotonic() - self._beat > 1.0:
            self._beat = time.monotonic()
            self._store.set(f"i2i/{self.rank}", str(step))

    @contextmanager
    def watch(self, step: Callable[[], int]) -> Iterator[None]:
        """Turn a broken or timed-out connection into an error that names the process and the step."""
        try:
            yield
        except dist.DistError as error:
            raise self._blame(error, step()) from error
        except RuntimeError as error:
            if self.size > 1 and any(word in str(error) for word in ("gloo", "NCCL", "Connection", "imed out")):
                raise self._blame(error, step()) from error
            raise

    def _blame(self, error: Exception, step: int) -> ResourceError:
        reached = {rank: 0 for rank in range(self.size) if rank != self.rank}
        for rank in reached:
            with suppress(RuntimeError):  # `get` would wait for one that has finished no step
                if self._store is not None and self._store.check([f"i2i/{rank}"]):
                    reached[rank] = int(self._store.get(f"i2i/{rank}"))
        slowest = " or ".join(str(rank) for rank in reached if reached[rank] == min(reached.values()))
        return ResourceError(
            f"rank {slowest} does not answer (rank {self.rank} waits at step {step}): it was killed, stopped or "
            f"hangs; continue from the last checkpoint with --resume ({str(error).splitlines()[0][:120]})"
        )


def join(timeout: float, device: torch.device) -> ProcessGroup:
    """Join the other processes, if the environment variables name any.

    Args:
        timeout: seconds without an answer from a process after which the run ends.
        device: where this process trains; it decides how they communicate, e.g. with nccl.

    Raises:
        ResourceError: they cannot meet, because of a variable of the environment, the network or a missing process.
        ConfigError: a variable is not a number.
    """
    refuse_variables(rank(), number("WORLD_SIZE", 1))
    if alone():
        return ProcessGroup()
    if device.type != "cpu":
        torch.accelerator.set_device_index(device.index)
    limit = timedelta(seconds=timeout)
    backend = dist.get_default_backend_for_device(device)
    with meeting():
        store, own, size = next(dist.rendezvous("env://", timeout=limit))
        store.set_timeout(limit)
        dist.init_process_group(
            backend if device.type == "cpu" else f"cpu:gloo,{device.type}:{backend}",  # some tensors stay on the CPU
            store=dist.PrefixStore("group", store),
            rank=own,
            world_size=size,
            timeout=limit,
        )
    return ProcessGroup(own, size, dist.PrefixStore("beat", store))


def leave() -> None:
    """Leave the group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()
