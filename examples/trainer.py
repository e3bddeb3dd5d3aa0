"""Distil with the sense loss in a ``transformers.Trainer``: its own loss, and L_sem added.

python examples/trainer.py work/artifacts --steps 10
"""

import tempfile
from typing import Any

import torch
from start import arguments, collate, half_of, next_tokens, open_root
from torch import Tensor
from transformers import Trainer, TrainingArguments

from dskd_core import Decoder, SenseLoss


class SenseTrainer(Trainer):  # type: ignore[misc]
    """A Trainer whose loss is CE + L_sem; the terms of L_sem stand in its log."""

    def __init__(self, *args: Any, teacher: Decoder, sense_loss: SenseLoss, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.teacher, self.sense_loss = teacher, sense_loss.to(self.args.device)
        self.teacher.model.to(self.args.device)
        self.terms: dict[str, float] = {}

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Add L_sem to the loss of a batch."""
        asked = inputs | {"output_hidden_states": True}
        loss, outputs = super().compute_loss(model, asked, True, num_items_in_batch)
        with torch.no_grad():
            teacher_states = self.teacher.states(inputs["input_ids"])
        # The last hidden states are after the norm, as the teacher's and the dictionary's are.
        senses = self.sense_loss(
            outputs.hidden_states[-1],
            teacher_states,
            next_tokens(inputs["labels"]),
            inputs["attention_mask"],
        )
        # A CE over the tokens of all accumulated batches is divided already, a mean is not yet.
        divided = self.model_accepts_loss_kwargs and num_items_in_batch is not None
        loss = loss + senses.loss / (self.current_gradient_accumulation_steps if divided else 1)
        self.terms = {name: getattr(senses.terms, name).item() for name in ("positive", "negative")}
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log the terms of the latest batch beside the loss."""
        super().log(logs | self.terms, *args, **kwargs)


def main() -> None:
    """Train for some steps; the Trainer prints its log."""
    options = arguments(__doc__)
    start = open_root(options.root)
    with tempfile.TemporaryDirectory() as folder:
        SenseTrainer(
            half_of(start.teacher),
            TrainingArguments(
                output_dir=folder,
                max_steps=options.steps,
                per_device_train_batch_size=options.batch,
                learning_rate=1e-3,
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=start.rows,
            data_collator=collate,
            teacher=start.teacher,
            sense_loss=SenseLoss(start.dictionary),
        ).train()


if __name__ == "__main__":
    main()
