"""The paper on the student; sizes from Llama-3-8B's own configuration, without its weights."""

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from dskd_core.config import StudentConfig
from dskd_core.corpus.store import load_windows
from dskd_core.decoder.decoder import load_teacher
from dskd_core.training.student.shape import Shape
from dskd_core.training.student.tail import capturing

LLAMA_3_8B = LlamaConfig(
    vocab_size=128256,
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    tie_word_embeddings=False,
)


def _n_parameters(n_layers: int) -> int:
    config = LlamaConfig(**(LLAMA_3_8B.to_dict() | {"num_hidden_layers": n_layers}))
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config).num_parameters()


def test_the_student_is_the_first_sixteen_of_thirty_two_layers_the_last_two_trainable():
    assert Shape.from_config(StudentConfig(), 32) == Shape(tuple(range(16)), entry=14)


def test_the_llama_student_has_about_4_5_billion_parameters_and_trains_0_44():
    student = _n_parameters(16)
    trainable = student - _n_parameters(14)
    assert student == pytest.approx(4.54e9, rel=0.01)
    assert trainable == pytest.approx(0.436e9, rel=0.01)


def test_everything_but_the_trainable_layers_is_the_teacher_s_bit_for_bit(miniature):
    student = AutoModelForCausalLM.from_pretrained(miniature.student().file_uri("model"))
    teacher = AutoModelForCausalLM.from_pretrained(miniature.config.teacher.source).state_dict()
    trained = ("model.layers.1.", "model.layers.2.")
    frozen = {n: v for n, v in student.state_dict().items() if not n.startswith(trained)}
    assert {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"} <= set(frozen)
    for name, value in frozen.items():
        assert value.equal(teacher[name]), name


def test_teacher_and_student_share_the_state_that_enters_the_first_trainable_layer(miniature):
    teacher = load_teacher(miniature.teacher(), miniature.config.teacher)
    student = AutoModelForCausalLM.from_pretrained(miniature.student().file_uri("model")).eval()
    ids = torch.tensor(load_windows(miniature.corpus()).window(0).tolist())[None]
    with torch.no_grad(), capturing(teacher.layers[1]) as of_teacher:
        teacher.states(ids)
    with torch.no_grad(), capturing(student.model.layers[1]) as of_student:
        student(ids)
    assert of_teacher[0].equal(of_student[0])
