"""Models: a Hugging Face model by name or in memory becomes a hooked one that runs batches.

What comes in are names, configurations and instances; what goes out are hooked models, prompts,
logits and sums over batches. Imports the root, tasks and neurons. `choices` needs no torch.
"""
