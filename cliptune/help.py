"""Help as people read it: static text, so that it is there at once. `--help-all` prints every key, from the parser itself."""

PROGRAM = """\
cliptune adapts a pretrained CLIP to a domain that it knows badly.

  cliptune fit --config FILE        adapt: zero-shot before, training, adapted after, a run folder
  cliptune test --config FILE       score a model; without --ckpt_path the zero-shot CLIP
  cliptune validate --config FILE   the same on the validation split
  cliptune predict MODEL IMAGES     classes, or rows, of images, folders and tables, as a file
  cliptune index MODEL FOLDER       see a folder of images once, and
  cliptune search INDEX WORDS       find images in it, by words or by an image
  cliptune export MODEL             for open_clip, transformers, ONNX, peft, torch: proven, with a model card
  cliptune soup RUN RUN ...         the average of several runs' weights
  cliptune cache list|clear         rows of frozen towers that are kept for later runs

  cliptune COMMAND --help           the keys that people set
  cliptune COMMAND --help-all       every key
  cliptune --version

Try it:  cliptune fit --config digits      (the bundled nano CLIP on handwritten digits, a minute on a laptop)
"""

_DATA = """\
data
  --data.path PATH              digits, a parquet/CSV/TSV/JSON-lines file, a folder of images, or a hub id
  --data.batch_size N           pairs of a step (64)
  --data.image_column NAME      found by itself; likewise caption_column, label_column, split_column
  --data.class_names FILE       names for labels that are numbers: a list, or a file with a name per line
  --data.templates TEXTS        texts around a class name, {} its place ('a photo of a {}.')
  --data.crop_scale [A,B]       share of the area that a training view keeps ([0.9, 1.0])
  --data.shots N                images of each class that training sees (all)
  --data.views V                fresh training views each epoch, 0 for evaluation's, or K drawn once (auto)
  --data.cache B                keep what frozen towers give on disk (true)
  --data.swaps N                hard negatives made of each caption by words that change places (0)
  --data.workers N              processes that decode images (cores less one)
"""

_MODEL = """\
model
  --model.backbone.name NAME    an open_clip architecture, local-dir:FOLDER, hf-hub:OWNER/NAME, or nano
  --model.backbone.pretrained W an open_clip tag, a .pt or .safetensors file, or random
  --model.backbone.image_size N pixels, where other than pretrained
  --model.method NAME           Full, LoRA, LinearProbe or PromptTuning; its arguments are --model.method.ARGUMENT
  --model.objective NAME        Contrastive or Sigmoid (captions or class texts), CrossEntropy (classes), or a Sum with what keeps
                                old knowledge: docs/objectives.md
"""

_RUN = """\
run
  --run.name NAME               of the run folder (the config's name)
  --run.root FOLDER             where run folders lie (runs)
  --ckpt_path PATH              {ckpt}
  --config FILE                 a YAML file, or the name of a shipped one (digits); several merge, later ones win
  --seed_everything N           of everything that is random (0)
"""

_TRAIN = """\
training
  --model.optimizer.lr LR       learning rate (1e-5: right for fine-tuning a real CLIP, low for nano)
  --model.schedule.warmup X     share of all steps over which it rises (0.1)
  --trainer.max_epochs N        passes over the training split
  --model.chunk_size N          run towers N images or texts at a time: the gradient of the whole batch in the memory of a chunk
  --trainer.precision P         32-true, bf16-mixed, ... (bf16-mixed where the hardware has it)
  --trainer.accelerator A       auto, cpu, gpu
  --config scale/ddp            all devices of this machine, as a second config; also scale/fsdp, scale/multinode: docs/scale.md
  --watch.patience N            evaluations without a better one before stopping (10)
  --watch.floor X               stop when validation falls below this share of zero-shot (0.5)
  --extend N                    N epochs more for the ended run of --ckpt_path, with a schedule of their own
Ctrl-C and SIGTERM end training after the step under way, with a checkpoint that goes on exactly there.
"""


def _screen(command: str, what: str, ckpt: str, training: bool = False) -> str:
    parts = [f"cliptune {command} --config FILE [--KEY VALUE ...]\n{what}\n", _DATA, _MODEL]
    if training:
        parts.append(_TRAIN)
    parts.append(_RUN.format(ckpt=ckpt))
    return (
        "\n".join(parts)
        + f"\nEvery key: cliptune {command} --help-all. The resolved config of a run is its config.yaml, which runs as it is.\n"
    )


SCREENS = {
    "fit": _screen(
        "fit",
        "Adapts a CLIP: scores it zero-shot, trains, scores the best checkpoint, and writes a run folder.",
        "resume: `last` for this name's newest run, a run folder, or a .ckpt file",
        training=True,
    ),
    "test": _screen(
        "test",
        "Scores a model on the test split; without --ckpt_path the zero-shot CLIP.",
        "what to score: `best` of this name's newest run, a run folder, or a .ckpt file",
    ),
    "validate": _screen(
        "validate",
        "Scores a model on the validation split; without --ckpt_path the zero-shot CLIP.",
        "what to score: `best` of this name's newest run, a run folder, or a .ckpt file",
    ),
    "predict": """\
cliptune predict MODEL IMAGES ... --output FILE [--KEY VALUE ...]
Writes the class and its probability for each image, or its row. What was cut off goes on where it stood, when called again.

  IMAGES                        image files, folders, tables (csv, parquet, ...), hub ids, DATA@SPLIT, a .txt of paths, - for paths on stdin
  --output FILE                 .csv, .jsonl, .parquet: class and probability; .npy, .safetensors: rows (predictions.csv)
  --rows                        rows, as .parquet too
  --classes "a, b, c"           any words as classes (those that the model was adapted to)
  --templates "a photo of a {}." texts around them, separated by |
  --top-k K                     the K most probable classes (1)
  --batch-size N                images of a step (64)
  --workers N                   threads that decode (as many as cores)
  --device D                    cpu, cuda, cuda:1, mps (a GPU where there is one)
  --overwrite                   write over FILE

Images that cannot be read are listed in FILE.failed.csv. On several devices, the test split of a config:
cliptune predict --config FILE --ckpt_path best --config scale/ddp; every key of that: cliptune predict --help-all
""",
}
COMMANDS = tuple(SCREENS)  # those with a config, which have --help-all too
SCREENS["cache"] = """\
cliptune cache list
cliptune cache clear [--older-than DAYS]
Rows that a frozen tower computed once are kept on disk, for later runs on the same images or texts.

  list                          what is kept: backbone and tower, view, rows, MB, last use; and the limit
  clear                         remove what no run is using
  clear --older-than DAYS       only what was not used for so many days

They lie in $CLIPTUNE_CACHE, else $XDG_CACHE_HOME/cliptune, else ~/.cache/cliptune, and take at most $CLIPTUNE_CACHE_GB GB (20):
beyond that those used longest ago go first. What a run is using is never removed.
"""

_MODELS = """\
MODEL is a run folder (its best checkpoint), a .ckpt file, an exported folder (open_clip, peft), or an untouched CLIP:
nano, NAME,PRETRAINED (ViT-B-32-quickgelu,openai), local-dir:FOLDER, hf-hub:OWNER/NAME.
"""

SCREENS["export"] = f"""\
cliptune export MODEL --format FORMAT [--output FOLDER] [--KEY VALUE ...]
Writes a model in another library's form, reads it back there in a process of its own, and compares: rows, logits, choices.
What differs by more than rounding is not left behind. Beside it lie README.md, a model card, and export.json, the same as data.

  --format open_clip            merged weights and configuration: local-dir:FOLDER, or a plain pretrained file
           transformers         CLIPModel or SiglipModel, with processor and tokenizer
           onnx                 image and text encoder, classifier with class names baked in; --precision fp32, fp16 or int8
           peft                 the adapter alone (LoRA)
           classifier           class rows or a probe, a few kilobytes
           torch_export         image encoder and classifier as .pt2, for servers with torch alone
  --output FOLDER               where to (MODEL-FORMAT in this folder)
  --blend X                     share of what was learned, 0 zero-shot to 1 adapted; auto picks it on the run's validation split
  --guard DATA                  other images with classes or captions: how good it was on them before, and is now
  --samples N                   images of the proof, of the run's test split (64)
  --push OWNER/NAME             upload it to the Hugging Face hub; --private for a private model

{_MODELS}"""
SCREENS["soup"] = """\
cliptune soup RUN RUN ... [--greedy] [--output FOLDER]
Averages the weights of several runs of one recipe (other seeds, learning rates, augmentations) into one model that costs no more than
one of them (Wortsman et al. 2022, "Model soups"), scores it on the first run's data, and writes it as a run folder.

  --greedy                      take a run in only where validation does not fall by it, best runs first
  --output FOLDER               where to (runs/soup)
"""
SCREENS["index"] = f"""\
cliptune index MODEL IMAGES ... --output INDEX
Sees each image once, and keeps its row and its path. Called again it sees only what is new or has changed.

  IMAGES                        folders, image files, tables, hub ids
  --output INDEX                the folder of the index
  --batch-size N                images of a step (64)
  --workers N                   threads that decode (as many as cores)
  --device D                    cpu, cuda, cuda:1, mps (a GPU where there is one)

{_MODELS}"""
SCREENS["search"] = """\
cliptune search INDEX WORDS_OR_IMAGE [--k N] [--gallery FILE]
Finds the images of an index that are most like words, or like an image.

  --k N                         how many (10)
  --gallery FILE                what was found, as pictures: .png or .html
  --exact                       compare with every row, where an index of many would take a short cut
  --model MODEL                 the model that the index was made with, where it lies elsewhere now
"""
