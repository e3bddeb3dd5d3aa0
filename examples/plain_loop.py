"""Distil with the sense loss in a plain PyTorch loop.

    python examples/plain_loop.py work/artifacts --steps 10

The loss is that of the paper: CE + alpha T^2 KL(teacher || student) + L_sem.
"""

import torch
from start import arguments, collate, half_of, next_tokens, open_root
from torch.utils.data import DataLoader

from dskd_core import Distillation, SenseLoss, distillation_loss

ALPHA, TEMPERATURE = 0.7, 2.0


def main() -> None:
    """Train for some steps and print the terms of each."""
    options = arguments(__doc__)
    torch.manual_seed(0)
    start = open_root(options.root)
    teacher, student = start.teacher, half_of(start.teacher)
    sense_loss = SenseLoss(start.dictionary).to(teacher.device)
    settings = Distillation(temperature=TEMPERATURE, kl_weight=ALPHA)
    trained = [weight for weight in student.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    batches = DataLoader(start.rows, batch_size=options.batch, shuffle=True, collate_fn=collate)
    for step, batch in zip(range(1, options.steps + 1), batches, strict=False):
        ids, mask, labels = (tensor.to(teacher.device) for tensor in batch.values())
        labels = next_tokens(labels)
        # Final states after the norm, what the head reads: [windows, tokens, d]. The teacher must
        # be the dictionary's own, and no gradient goes to it.
        with torch.no_grad():
            teacher_states = teacher.states(ids)
        outputs = student.base_model(input_ids=ids, attention_mask=mask)
        student_states = outputs.last_hidden_state
        kd = distillation_loss(
            student_states.flatten(0, 1),
            teacher.head,
            labels.flatten(),
            teacher_states.flatten(0, 1),
            settings,
        )
        senses = sense_loss(student_states, teacher_states, labels, mask)
        loss = kd.loss + senses.loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        terms = {"loss": loss, "ce": kd.ce, "kl": kd.kl, "positive": senses.terms.positive}
        terms["negative"] = senses.terms.negative
        print(step, {name: round(value.item(), 4) for name, value in terms.items()})


if __name__ == "__main__":
    main()
