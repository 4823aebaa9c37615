"""Score and answer with tiny models, each spread over two devices that do not exist; a script.

Fake tensors know their device and have no numbers: an operation on tensors of two devices is an
error, as on GPUs. What needs numbers is replaced: a fake is true, and no backward pass runs, so
each activation is handed over with a gradient of its own. Prints where the layers, what
was found of them, and the sums are.
"""

import json
import sys
from contextlib import contextmanager

import accelerate
import tiny
import torch
import transformers
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import backend_registration

from culnig_tl.measure import attribution
from culnig_tl.measure.evaluation import answer_log_probabilities
from culnig_tl.models import wrapping as models
from culnig_tl.models.description import layout_of
from culnig_tl.models.devices import layer_devices
from culnig_tl.models.prompts import make_prompts
from culnig_tl.neurons.layout import hook_name


class TwoDevices(backend_registration._DummyBackendModule):
    def device_count(self):
        return 2

    def empty_cache(self):
        pass

    def set_device(self, device):
        pass


backend_registration._setup_privateuseone_for_python_backend("pretend", TwoDevices())
real_tensor = torch.tensor


def tensor(data, device="cpu", **options):
    made = real_tensor(data, **options)  # one with numbers cannot be on such a device
    return torch.empty(made.shape, dtype=made.dtype, device=device)


torch.tensor = tensor
FakeTensor.__bool__ = lambda self: True
FakeTensor.nonzero = lambda self: torch.zeros(
    self.numel(), self.ndim, dtype=torch.long, device=self.device
)
torch.Tensor.backward = lambda self: None


@contextmanager
def no_backward(model, keys, use):
    activations = {}

    def keep(key):
        return lambda activation, hook: activations.__setitem__(key, activation)

    with model.hooks(fwd_hooks=[(hook_name(*key), keep(key)) for key in keys]):
        yield
    for key, activation in activations.items():
        use(key, activation, torch.ones_like(activation))


attribution.gradient_hooks = no_backward


def place(module, device):
    for part in module.modules():
        for held in (part._parameters, part._buffers):
            for name, weight in held.items():
                if weight is not None:
                    moved = weight.detach().to(device)
                    held[name] = torch.nn.Parameter(moved) if held is part._parameters else moved


def places(kind):
    with FakeTensorMode(allow_non_fake_inputs=True):
        hf = transformers.AutoModelForCausalLM.from_config(
            tiny.config(kind), attn_implementation="eager"
        ).eval()
        parts = {
            "model.embed_tokens": 0,
            "model.rotary_emb": 0,
            **{f"model.layers.{layer}": int(layer > 1) for layer in range(3)},
            "model.norm": 1,
            "lm_head": 1,
        }
        where = {name: f"pretend:{number}" for name, number in parts.items()}
        for name, device in where.items():
            place(hf.get_submodule(name), device)
        accelerate.dispatch_model(hf, where, force_hooks=True)
        tokenizer = tiny.tokenizer()
        models.weights_in = lambda *held, **named: "none"  # a hash wants numbers
        model = models.wrap_model(hf, tokenizer, name=f"tiny-{kind}")
        prompts = make_prompts(tokenizer, tiny.instances(4), answer_format="cloze")
        with attribution.frozen(model):
            found = attribution.score_batch(model, prompts, ("product", "log"), clamp_control=True)
        sums = attribution._zeros(model, layout_of(model), (3, 4))
        with torch.no_grad():
            answer_log_probabilities(model, prompts, token_budget=64)
    return {
        "layers": [str(device) for device in layer_devices(model)],
        "found": {f"{l} {s}": str(v.device) for (l, s), v in found.variants.items()},
        "sums": [str(part.device) for part in sums.values()],
    }


sys.stdout.write(json.dumps({kind: places(kind) for kind in sys.argv[1:]}))
