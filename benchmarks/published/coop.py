"""CoOp (Zhou et al. 2022, "Learning to Prompt for Vision-Language Models"): sixteen words before the class name learn, for all classes.

Words start from noise of deviation 0.02; SGD, learning rate 0.002 by a cosine, after a first epoch at 1e-5, momentum 0.9, weight decay
5e-4; batches of 32; 200 epochs for 16 and 8 shots, 100 for 4 and 2, 50 for 1; the last epoch counts. The image tower is frozen, so that the
rows of the crops are computed before. Prompts are cut where padding begins, which changes nothing.
"""

import torch
import torch.nn.functional as F
from open_clip.transformer import text_global_pool
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from published.task import Task

WORDS, STD = 16, 0.02
LR, MOMENTUM, DECAY, WARMUP_LR, BATCH = 0.002, 0.9, 5e-4, 1e-5, 32
EPOCHS = {1: 50, 2: 100, 4: 100}  # by shots; 200 for more


class Prompts:
    """The classes' prompts around learned words.

    Args:
        task: whose classes and weights.
    """

    def __init__(self, task: Task) -> None:
        model = task.untouched.model
        self.tower = getattr(model, "text", model)
        tokens = task.untouched.preprocess.tokenizer([f"{'X ' * WORDS}{name}." for name in task.names]).to(task.device)
        if not bool((tokens[:, 1 : WORDS + 1] == tokens[0, 1]).all()):
            raise ValueError("the tokenizer makes more than one token of X: the words' places are not known")
        self.tokens = tokens[:, : int((tokens != 0).sum(dim=1).max())]  # [C, L]
        self.around = self.tower.token_embedding(self.tokens).detach()
        self.words = nn.Parameter(torch.randn(WORDS, self.around.shape[-1], device=task.device) * STD)

    def rows(self) -> Tensor:
        """[C, D], unit rows."""
        words = self.words.expand(len(self.tokens), -1, -1)
        x = torch.cat([self.around[:, :1], words, self.around[:, WORDS + 1 :]], dim=1)
        tower, length = self.tower, self.tokens.shape[1]
        x = tower.transformer(x + tower.positional_embedding[:length], attn_mask=tower.attn_mask[:length, :length])
        kind = getattr(tower, "text_pool_type", getattr(tower, "pool_type", "argmax"))
        x = text_global_pool(
            tower.ln_final(x), self.tokens, kind, eos_token_id=getattr(tower, "text_eos_id", getattr(tower, "eos_id", None))
        )
        return F.normalize((x @ tower.text_projection).float(), dim=-1)


def coop(task: Task) -> Tensor:
    """Learn the words, and score the test images."""
    task.untouched.requires_grad_(False)
    epochs = task.times(EPOCHS.get(task.shots, 200))
    crops, labels = task.augmented_rows(epochs), task.train.labels
    prompts = Prompts(task)
    optimizer = torch.optim.SGD([prompts.words], LR, MOMENTUM, weight_decay=DECAY)
    schedule = CosineAnnealingLR(optimizer, epochs)
    for epoch in range(epochs):
        if epoch == 0:
            optimizer.param_groups[0]["lr"] = WARMUP_LR
        for part in task.batches(BATCH):
            rows = crops[torch.randint(len(crops), (len(part),)), part].to(task.device)
            optimizer.zero_grad()
            with task.products():
                texts = prompts.rows()
            F.cross_entropy(task.scale * rows @ texts.T, labels[part].to(task.device)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if epoch == 0:
            optimizer.param_groups[0]["lr"] = LR
        schedule.step()
    with torch.no_grad():
        return task.scale * task.rows("test") @ prompts.rows().cpu().T
