"""Distil with TRL's ``GKDTrainer``, its divergence and L_sem together.

    pip install 'dskd[benchmarks]'     # trl
    python examples/trl_gkd.py work/artifacts --steps 10

``lmbda=0`` trains on the given text; with more, TRL lets the student write some of it, and L_sem
is on that text then.
"""

import tempfile
from typing import Any

from datasets import Dataset
from start import arguments, collate, half_of, next_tokens, open_root
from torch import Tensor, nn
from trl.experimental.gkd import GKDConfig, GKDTrainer

from dskd_core import SenseLoss


class FinalStates:
    """The final states of a model's latest forward pass, after the norm, however it is called."""

    def __init__(self, model: Any) -> None:
        self.latest: Tensor | None = None
        model.base_model.register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _inputs: Any, outputs: Any) -> None:
        self.latest = outputs.last_hidden_state


class SenseGKDTrainer(GKDTrainer):  # type: ignore[misc]
    """GKD with L_sem: student and teacher are run once, by TRL, and their states are kept."""

    def __init__(self, *args: Any, sense_loss: SenseLoss, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sense_loss = sense_loss.to(self.args.device)
        self.student_states = FinalStates(self.accelerator.unwrap_model(self.model))
        self.teacher_states = FinalStates(self.accelerator.unwrap_model(self.teacher_model))
        self.terms: dict[str, float] = {}

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Add L_sem to TRL's loss of a batch."""
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        senses = self.sense_loss(
            self.student_states.latest,
            self.teacher_states.latest,
            next_tokens(inputs["labels"]),
            inputs["attention_mask"],
        )
        # A loss over the tokens of all accumulated batches is divided already, a mean is not yet.
        divided = self.model_accepts_loss_kwargs and num_items_in_batch is not None
        loss = loss + senses.loss / (self.current_gradient_accumulation_steps if divided else 1)
        self.terms = {name: getattr(senses.terms, name).item() for name in ("positive", "negative")}
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log the terms of the latest batch beside the loss."""
        super().log(logs | self.terms, *args, **kwargs)


def main() -> None:
    """Train for some steps; the trainer prints its log."""
    options = arguments(__doc__)
    start = open_root(options.root)
    with tempfile.TemporaryDirectory() as folder:
        SenseGKDTrainer(
            half_of(start.teacher),
            teacher_model=start.teacher.model,
            args=GKDConfig(
                output_dir=folder,
                lmbda=0.0,
                beta=0.0,  # the forward KL; TRL's beta 1 is the reverse
                max_steps=options.steps,
                per_device_train_batch_size=options.batch,
                learning_rate=1e-3,
                bf16=False,
                gradient_checkpointing=False,
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list(start.rows),
            data_collator=collate,
            processing_class=start.tokenizer,
            sense_loss=SenseLoss(start.dictionary),
        ).train()


if __name__ == "__main__":
    main()
