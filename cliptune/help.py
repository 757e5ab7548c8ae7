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
  cliptune sweep --config FILE      several methods, numbers of shots and seeds on the same images; which method is worth it
  cliptune compare RUN RUN ...      runs side by side: which is best, how sure that is, on which classes, at what cost
  cliptune report RUN               a run as a page: before and after, what was forgotten, where it errs
  cliptune init --path IMAGES       look at your images, and write a config for them, each line with its reason
  cliptune recipes list|show|copy   templates to start from: medical, art, games, your own
  cliptune doctor --config FILE     look at the data before training: what is wrong, zero-shot, and what config fits
  cliptune cache list|clear         rows of frozen towers that are kept for later runs

  cliptune COMMAND --help           the keys that people set
  cliptune COMMAND --help-all       every key
  cliptune --version

Try it:  cliptune fit --config digits      (the bundled nano CLIP on handwritten digits, a minute on a laptop)
"""

_DATA = """\
data
  --data.path PATH              digits, a folder of images, a table (parquet, CSV, JSON lines, ...), COCO JSON, tar shards, or a hub id
  --data.batch_size N           pairs of a step (64)
  --data.image_column NAME      found by itself; likewise caption_column, label_column, split_column
  --data.class_names FILE       names for labels that are numbers: a list, or a file with a name per line
  --data.templates TEXTS        texts around a class name ('a photo of a {}.'), or imagenet (80 of them), simple; data.descriptions FILE
  --data.text PHRASE            captions made of columns: "a {label} on the {localization}"; what is missing is left out
  --data.long_text HOW          truncate, sample_sentence or split_mean, of texts longer than the context (truncate)
  --data.transform PRESET       what training does to images: clip, photo, medical, pixel_art, document (clip)
  --data.sampler HOW            shuffle, balanced, weighted, distinct (no class twice in a batch), pk (shuffle)
  --data.shots N                images of each class that training sees (all); a list of them: shots_column, shots_file
  --data.cache B                keep what frozen towers give on disk (true)
"""

_MODEL = """\
model
  --model.backbone.name NAME    an open_clip architecture, local-dir:FOLDER, hf-hub:OWNER/NAME, or nano
  --model.backbone.pretrained W an open_clip tag, a .pt or .safetensors file, or random
  --model.method NAME           Full, LoRA, LinearProbe or PromptTuning; its arguments are --model.method.ARGUMENT
  --model.objective NAME        Contrastive, Sigmoid, CrossEntropy (classes), or a Sum with what keeps knowledge: docs/objectives.md
"""

_RUN = """\
run
  --run.name NAME               of the run folder (the config's name)
  --run.root FOLDER             where run folders lie (runs)
  --ckpt_path PATH              {ckpt}
  --config FILE                 a YAML file, or the name of a shipped one (digits); several merge, later ones win
  --seed_everything N           of everything that is random (0)
"""

_MEASURES = """\
what is measured
  --guard PATHS                 other data on which is seen, at each evaluation, what is forgotten: docs/forgetting.md
  --evaluation.composition swap word order; --evaluation.bias.column NAME, --evaluation.crops 5, ...: docs/evaluation.md
"""

_TRAIN = """\
training
  --model.optimizer.lr LR       learning rate (1e-5: right for fine-tuning a real CLIP, low for nano)
  --model.schedule.warmup X     share of all steps over which it rises (0.1)
  --trainer.max_epochs N        passes over the training split
  --model.chunk_size N          run towers N images or texts at a time: the gradient of the whole batch in the memory of a chunk
  --trainer.precision P         32-true, bf16-mixed, ... (bf16-mixed where the hardware has it)
  --config scale/ddp            all devices of this machine, as a second config; also scale/fsdp, scale/multinode: docs/scale.md
  --watch.monitor METRIC        that picks the checkpoint: val/score, any val/..., or balanced: validation and guards (val/score)
  --watch.patience N            evaluations without a better one before stopping (10)
  --watch.keep X                share of the guards' zero-shot scores that the chosen blend must keep (not given)
  --watch.floor X               stop when validation falls below this share of zero-shot (0.5)
  --seeds [1,2,3]               a run for each seed, and mean and spread of their test scores; what has ended is not run again
  --extend N                    N epochs more for the ended run of --ckpt_path, with a schedule of their own
Ctrl-C and SIGTERM end training after the step under way, with a checkpoint that goes on exactly there.
"""


def _screen(command: str, what: str, ckpt: str, training: bool = False) -> str:
    parts = [f"cliptune {command} --config FILE [--KEY VALUE ...]\n{what}\n", _DATA, _MODEL]
    if training:
        parts.append(_TRAIN)
    parts.append(_MEASURES)
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
cliptune predict MODEL IMAGES ... --output FILE [OPTIONS]
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
  --precision P                 32-true or bf16-mixed (bf16-mixed where the hardware has it, as fit and test)
  --overwrite                   write over FILE

Images that cannot be read are listed in FILE.failed.csv. On several devices, the test split of a config:
cliptune predict --config FILE --ckpt_path best --config scale/ddp; every key of that: cliptune predict --help-all
""",
}
COMMANDS = tuple(SCREENS)  # those with a config, which have --help-all too
SCREENS["doctor"] = """\
cliptune doctor --config FILE [--KEY VALUE ...] [--write FILE] [--open]
Looks at the data of a config before anything is trained on it: unreadable and odd files, copies and copies across splits, classes, sizes,
texts, what zero-shot says, how far the data lies from what the backbone knows; and recommends a config, with reasons. Config and keys are
those of cliptune fit.

  --output FOLDER               where doctor.html and doctor.json go (runs/doctor-NAME)
  --write FILE                  the config with what is recommended, each change with its reason: cliptune fit --config FILE runs it
  --open                        open the page in the browser
  --zero-shot N                 images of train and validation that zero-shot is measured on (2000); test is left for the end

What each number means, and what it rests on: docs/doctor.md.
"""
SCREENS["sweep"] = """\
cliptune sweep --config FILE [--methods NAMES] [--shots 1,4,16,all] [--seeds 1,2,3] [--KEY VALUE ...]
Runs a recipe by several methods, with several numbers of images of each class and several seeds, all on the same images; ends with a table,
pictures, and a sentence that says which method is worth it. Config and keys are those of cliptune fit.

  --methods NAMES               all, or of full, flyp, lora, linear_probe, linear_probe_zero, prompt_tuning, lora_contrastive; or a YAML
                                file with entries of your own (all)
  --shots LIST                  images of each class that training sees (1,2,4,8,16,all)
  --seeds LIST                  a run for each of these (the recipe's seeds, or 1,2,3)
  --jobs N                      runs that go on at a time, which share the cores (1)
  --devices LIST                GPUs that runs are spread over, such as 0,1
  --output FOLDER               where all goes (runs/NAME-sweep): sweep.html, sweep.json, sweep.csv, accuracy.png, forgetting.png, cells/
  --keep WHICH                  checkpoints of runs that have ended: best, all or none (best)

The same command again goes on: what has ended is not run again, what was cut off goes on where it stood. A failed run does not stop the
others; it is listed with its reason, and the status is 1. What each method is, and how one is recommended: docs/sweep.md.
"""
SCREENS["init"] = """\
cliptune init --path IMAGES [--output FILE] [OPTIONS]
Looks at your images as the doctor does, asks nothing that it can see, and writes a config that fits them, each key with its reason.

  --path IMAGES                 a folder of images, a table, COCO JSON, a hub id: what data.path takes
  --output FILE                 the config (the data's name with .yaml, in this folder)
  --name NAME                   of the backbone (ViT-B-16-quickgelu; nano needs no network)
  --pretrained TAG              its weights (openai)
  --images N                    of train and validation that zero-shot is measured on (500); test is left for the end
  --allow-outside               let image paths of a table lead out of its folder (../photos/1.jpg), of a table that you trust
  --overwrite                   write over FILE

Then: cliptune fit --config FILE. All that was found, with pictures: cliptune doctor --config FILE --open
"""
SCREENS["recipes"] = """\
cliptune recipes list
cliptune recipes show NAME
cliptune recipes copy NAME [FOLDER]
Whole configs to start from, for data of a kind: medical, art, games, your own. Their cards say what the data is, its licence, what it
costs, and what was measured.

  list                          data sets and their recipes
  show NAME                     a recipe (ham10000/lora), or the card of a data set (ham10000) or domain (medical)
  copy NAME [FOLDER]            a recipe, or all of a data set or domain, with its card, as files of your own to change, whose
                                commands run the copy (into my_NAME here, such as my_ham10000; `your-own` into mine)

They run by name: cliptune fit --config ham10000/lora. With --config ham10000/offline on top they run on the bundled nano and
../shared/data, without network.
"""
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
cliptune export MODEL --format FORMAT [--output FOLDER] [OPTIONS]
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
  --keep X                      with auto: of blends that keep this share of the guard's zero-shot score only (not given)
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
SCREENS["compare"] = """\
cliptune compare RUN RUN ... [--metric NAME] [--output FOLDER] [--open]
Lays runs side by side: scores with intervals, which are best for certain and which by chance, who wins on which class, and what each
cost; from their folders alone, without model or data. Prints a table, and writes compare.html, compare.csv and classes.csv.

  RUN                           a run folder, the folder of fit --seeds, or a folder that holds such: cliptune compare runs
  --metric NAME                 what they are compared on, such as test/top1, test/mean_per_class, test/recall (test/top1, else test/recall)
  --output FOLDER               where to (compare, beside the first run)
  --open                        open the page in the browser

Zero-shot is a row of its own. Tests are paired: on the same images, image by image. What they say, and what not: docs/compare.md.
"""
SCREENS["report"] = """\
cliptune report RUN [--open] [--output FILE]
Writes a run as one page that needs no other file: before and after with intervals, what was won and what was forgotten, learning curves,
classes, confusion, calibration, images that the model is wrong about, retrieval, what was learned, what it cost, and how to run it again.
It is a function of the run folder alone, without model or data; every fit writes it at its end (run.report: false turns that off).

  RUN                           a run folder
  --output FILE                 the .html file to write (report.html in the run folder)
  --open                        open the page in the browser
"""
SCREENS["index"] = f"""\
cliptune index MODEL IMAGES ... --output INDEX
Sees each image once, and keeps its row and its path. Called again it sees only what is new or has changed.

  IMAGES                        folders, image files, tables, hub ids
  --output INDEX                the folder of the index
  --batch-size N                images of a step (64)
  --workers N                   threads that decode (as many as cores)
  --device D                    cpu, cuda, cuda:1, mps (a GPU where there is one)
  --precision P                 32-true or bf16-mixed (bf16-mixed where the hardware has it, as fit and test)

{_MODELS}"""
SCREENS["search"] = """\
cliptune search INDEX WORDS_OR_IMAGE [--k N] [--gallery FILE]
Finds the images of an index that are most like words, or like an image.

  --k N                         how many (10)
  --gallery FILE                what was found, as pictures: .png or .html
  --exact                       compare with every row, where an index of many would take a short cut
  --model MODEL                 the model that the index was made with, where it lies elsewhere now
"""
