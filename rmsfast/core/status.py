"""How a run ended: the code, and beside it the sentence the user reads."""

RUNNING = -1
GTOL = 0
MAXITER = 1
LINE_SEARCH = 2
NONFINITE = 3
MAXFUN = 4
FTOL = 5
XTOL = 6
LIMIT_CYCLE = 7
NONFINITE_START = 8
INCONSISTENT = 9
OBJECTIVE = 10
EPOCHS = 11
PATIENCE = 12
NONFINITE_BATCH = 13
INTERRUPTED = 98
CALLBACK = 99  # as in SciPy
COUNT = 100  # codes are less than this

SUCCESS = (GTOL, FTOL, XTOL, EPOCHS, PATIENCE)

MESSAGE = {
    RUNNING: "The solver is waiting for the value and the gradient at its next point.",
    GTOL: "Optimization terminated successfully: no component of the (projected) gradient "
    "exceeds gtol.",
    FTOL: "Optimization terminated successfully: the relative reduction of the objective is "
    "within ftol.",
    XTOL: "Optimization terminated successfully: the relative length of the last step is "
    "within xtol.",
    MAXITER: "Maximum number of iterations (maxiter) has been exceeded.",
    MAXFUN: "Maximum number of function evaluations (maxfun) has been exceeded.",
    LINE_SEARCH: "Desired error not necessarily achieved due to precision loss: no step along "
    "the descent direction lowers the objective beyond rounding. Scale the variables, or raise "
    "gtol.",
    INCONSISTENT: "The objective rises along its own descent direction, for every step length: "
    "the gradient disagrees with the objective, or there is a kink here. Check jac, for example "
    "with scipy.optimize.check_grad.",
    NONFINITE: "The objective or its gradient became NaN or infinite; the best point before that "
    "is returned. Lower a numeric lr, or use lr='auto', which steps back; keep the variables by "
    "bounds where the objective is defined.",
    NONFINITE_START: "The objective or its gradient is NaN or infinite at x0.",
    LIMIT_CYCLE: "The run ended in a limit cycle: with a constant lr every step has the length "
    "of lr in the end. Use lr='auto', or a decreasing schedule such as lr=rmsfast.schedules."
    "plateau(lr).",
    OBJECTIVE: "The objective raised an exception. Solve this problem alone, with rmsfast.rmsprop, "
    "to see it.",
    EPOCHS: "Training terminated successfully: all epochs are done.",
    PATIENCE: "Training terminated successfully: the validation loss has stopped falling; the "
    "point where it was lowest is returned.",
    NONFINITE_BATCH: "The loss of a batch, or its gradient, became NaN or infinite; the last point "
    "before that is returned. Lower lr, clip the gradient, or look for such values in the data.",
    INTERRUPTED: "Ctrl-C came before the end; what was found until then is returned.",
    CALLBACK: "`callback` raised `StopIteration`.",
}
