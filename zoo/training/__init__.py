"""A recipe becomes a run.

train.py          `train` and `resume`: they resolve recipe, data, devices and folder, and write run.json
  request.py      what a call asks for; choice.py chooses the recipe of a network by the data
  recipe.py       what a recipe may set, checked; settings.py has those of the optimizer and the learning rate
  recipes.py      the recipes themselves; imagenet.py has those for ImageNet
  measured_precision.py  the fastest precision that holds
  folder.py       the run folder: its lock, its record, the folder next to it while it replaces an older run
  loop.py         `Training` builds the network and calls `fit` for the epochs that are left
    fitting.py    what the network takes from the data: a table's categories and scale, the units of the targets
    start.py      the network that it starts from: new, with trained weights, or a model of the user's (logits.py)
    freezing.py   what keeps its values
    initialization.py  initial weights that the recipe asks for in place of the network's own
    learner.py    the network with loss, optimizer and averages; schedules.py has the learning rate
    distillation.py  targets from a teacher, a network that is trained already; teacher.py finds it
    optimizer.py  the steps of single variables: their rates and their decay
    accumulation.py  gradient accumulation: a batch in parts, one after the other, before a step
    progress.py   how far it is, on a terminal or as lines; meter.py for measurements
    callbacks.py  what is written in each epoch: history.csv, TensorBoard's events, a checkpoint
    best.py       the best epoch, and early stopping; class_weights.py has the weights in the loss
    checkpoints.py  the state of a training in one file; interruption.py ends one early
  then `Training` saves model.keras, measures it, and zoo.reports.page writes report.html

runs.py           a run as it is on disk: open, list, update
evaluation.py     loss and figures of a run, a network or weights; resolves model and data for every analysis
exporting.py      what a run or weights know, as `export.export` takes it
tta.py            views of an image, over which `evaluate` averages the logits
comparison.py     several networks under one recipe
command.py        the command line that trains a run again
"""
