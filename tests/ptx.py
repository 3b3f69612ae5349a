"""Runs PTX on the host: it is translated into the language of LLVM, and compiled for it.

What is one operation on a GPU is one here, so that numbers have the bits of a GPU; but for
instructions that are approximate there. The threads of a block take turns: each runs to the next
barrier or to its end, in an order drawn by lot, so that what a barrier is missing for goes wrong.
Each access to memory is checked: it must be aligned, and of memory on the device. Local and shared
memory hold no numbers at first. Instructions that our kernels have not are refused.
"""

import ctypes
import re

import llvmlite.binding as llvm
import numba
import numpy as np

FLOATS = {16: "half", 32: "float", 64: "double"}
SPECIAL = {f"%{name}.x": f"%{name}" for name in ("tid", "ntid", "ctaid", "nctaid")}
# Instruction -> what LLVM calls it, for type {t} of {n} bits, signed or unsigned by {s}
WHOLE = {
    **{name: name + " {t} {0}, {1}" for name in ("add", "sub", "mul", "and", "or", "xor")},
    **{name: "{s}" + name + " {t} {0}, {1}" for name in ("div", "rem")},
    **{name: "call {t} @llvm.{s}" + name + ".{t}({t} {0}, {t} {1})" for name in ("min", "max")},
    "abs": "call {t} @llvm.abs.{t}({t} {0}, i1 false)",
    "clz": "call {t} @llvm.ctlz.{t}({t} {0}, i1 false)",
    "neg": "sub {t} 0, {0}",
    "not": "xor {t} {0}, -1",
}
REAL = {
    **{name: "f" + name + " {t} {0}, {1}" for name in ("add", "sub", "mul", "div")},
    **{name: "call {t} @llvm." + name + "num.f{n}({t} {0}, {t} {1})" for name in ("min", "max")},
    "abs": "call {t} @llvm.fabs.f{n}({t} {0})",
    "ex2": "call {t} @llvm.exp2.f{n}({t} {0})",
    "fma": "call {t} @llvm.fma.f{n}({t} {0}, {t} {1}, {t} {2})",
    "neg": "fneg {t} {0}",
    "rcp": "fdiv {t} 1.0, {0}",
    "sqrt": "call {t} @llvm.sqrt.f{n}({t} {0})",
}
ROUNDING = {"rni": "rint", "rzi": "trunc", "rmi": "floor", "rpi": "ceil"}


def bits_of(kind):
    """Return the bits of a type of PTX."""
    return 1 if kind == "pred" else int(kind[1:])


def type_of(kind):
    """Return LLVM's name of a type of PTX."""
    return FLOATS[bits_of(kind)] if kind[0] == "f" else f"i{bits_of(kind)}"


class Function:
    """A function in LLVM's language: `text`, and the bytes that each thread keeps, `size`.

    Registers are integers of 64 bits, of which the lower ones count. A kernel keeps them in its
    frame if it has barriers: there it returns, and goes on from when it is called again.
    """

    def __init__(self, kind, name, parameters, body, symbols):
        self.name, self.is_kernel = name, kind == "entry"
        self.symbols = symbols | {p: f"%a{i}" for i, p in enumerate(parameters)}
        self.lines, self.head, self.registers, self.declared = [], [], {}, {"cc", "_"}
        self.is_open, self.waits, self.local, self.counter = True, [], 0, 0
        self.keeps = self.is_kernel and "bar.sync" in body
        for statement in re.sub(r"(\$?\w+):", r"\1:;", body).split(";"):
            self._translate(statement.split())
        count = len(parameters)
        if self.is_kernel:
            given = "ptr %frame, ptr %params, i64 %tid, i64 %ntid, i64 %ctaid, i64 %nctaid"
            for i in range(count):
                self.head += [f"%p{i} = getelementptr i64, ptr %params, i64 {i}"]
                self.head += [f"%a{i} = load i64, ptr %p{i}"]
            self.head += [f"%here = getelementptr i8, ptr %frame, i64 {self._kept()}"]
            self.head += ["%local = ptrtoint ptr %here to i64", "%state = load i64, ptr %frame"]
        else:
            given = ", ".join(f"i64 %a{i}" for i in range(count))
            self.head += [f"%here = alloca [{self.local} x i8]"]
            self.head += ["%local = ptrtoint ptr %here to i64", "%state = add i64 0, 0"]
        cases = " ".join(f"i64 {k}, label %wait{k}" for k in self.waits)
        start = [f"switch i64 %state, label %start [{cases}]", "start:"]
        if self.local:
            length = f"i64 {self.local}"
            start += [f"call void @llvm.memset.p0.i64(ptr %here, i8 -1, {length}, i1 false)"]
        result = "i64" if self.is_kernel else "void"
        lines = [f"define {result} @{name}({given}) {{", *self.head, *start, *self.lines, "}"]
        self.text = "\n".join(lines)
        self.size = self._kept() + -(-self.local // 16) * 16

    def _kept(self):
        """Return how many bytes the state and the registers take, as vectors are aligned."""
        return -(-(len(self.registers) + 1) // 2) * 16

    def _new(self, text):
        self.counter += 1
        self.lines.append(f"%v{self.counter} = {text}")
        return f"%v{self.counter}"

    def _register(self, name):
        if name not in self.registers:
            assert name[0] == "%" or name in self.declared, f"what is {name}?"
            k = len(self.registers)
            place = f"getelementptr i64, ptr %frame, i64 {k + 1}" if self.keeps else "alloca i64"
            self.head.append(f"%r{k} = {place}")
            self.registers[name] = f"%r{k}"
        return self.registers[name]

    def _get(self, token, kind):
        """Return the value of an operand."""
        bits, number = bits_of(kind), re.fullmatch(r"(-?\d+)|0[fFdD]([0-9A-Fa-f]+)", token)
        if number:
            value = number[1] or str(int(number[2], 16))
        else:
            value = SPECIAL.get(token) or self.symbols.get(token)
            value = value or self._new(f"load i64, ptr {self._register(token)}")
            value = value if bits == 64 else self._new(f"trunc i64 {value} to i{bits}")
        return self._new(f"bitcast i{bits} {value} to {type_of(kind)}") if kind[0] == "f" else value

    def _set(self, token, value, kind):
        bits = bits_of(kind)
        if kind[0] == "f":
            value = self._new(f"bitcast {type_of(kind)} {value} to i{bits}")
        if bits < 64:
            value = self._new(f"{'sext' if kind[0] == 's' else 'zext'} i{bits} {value} to i64")
        self.lines.append(f"store i64 {value}, ptr {self._register(token)}")

    def _label(self, name):
        if self.is_open:
            self.lines.append(f'br label %"{name}"')
        self.lines.append(f'"{name}":')
        self.is_open = True

    def _end(self, text):
        self.lines.append(text)
        self.is_open = False

    def _translate(self, words):
        if not words or words[0] == ".pragma":
            return
        if words[0].endswith(":"):
            self._label(words[0][:-1])
        elif words[0] == ".reg":
            self.declared.update(re.findall(r"\w+", " ".join(words[2:])))
        elif words[0] in (".param", ".local"):
            name, length = re.fullmatch(r"(\w+)(?:\[(\d+)\])?", words[-1]).groups()
            if words[0] == ".local":
                self.local, self.symbols[name] = int(length), "%local"
            else:
                k = len(self.head)
                self.head += [f"%b{k} = alloca [{length or 8} x i8]"]
                self.head += [f"%c{k} = ptrtoint ptr %b{k} to i64"]
                self.symbols[name] = f"%c{k}"
        else:
            self._instruct(words)

    def _instruct(self, words):
        k = len(self.lines)
        if not self.is_open:
            self._label(f"unreachable{k}")
        is_conditional = words[0][0] == "@"
        if is_conditional:
            p = self._get(words[0].lstrip("@!"), "pred")
            ways = [f"then{k}", f"else{k}"][:: -1 if "!" in words[0] else 1]
            self.lines += [f"br i1 {p}, label %{ways[0]}, label %{ways[1]}", f"then{k}:"]
            words = words[1:]
        name, *parts = words[0].split(".")
        operands = re.findall(r"<[^>]*>|\([^)]*\)|[^\s,][^,]*", " ".join(words[1:]))
        getattr(self, f"_do_{name}", self._compute)(name, parts, *operands)
        if is_conditional:
            self._label(f"else{k}")

    def _do_bra(self, name, parts, target):
        self._end(f'br label %"{target}"')

    def _do_ret(self, name, parts):
        self._end("ret i64 0" if self.is_kernel else "ret void")

    def _do_bar(self, name, parts, number):
        assert self.is_kernel and number == "0", "a kernel waits for all of its block"
        self.waits.append(len(self.waits) + 1)
        self._end(f"ret i64 {self.waits[-1]}")
        self._label(f"wait{self.waits[-1]}")

    def _do_call(self, name, parts, *operands):
        names = re.findall(r"[\w$]+", " ".join(operands))
        (function,) = (n for n in names if n not in self.symbols)
        given = ", ".join(f"i64 {self.symbols[n]}" for n in names if n != function)
        self.lines.append(f"call void @{function}({given})")

    def _memory(self, parts, place, size):
        """Return the address of memory that is read or written."""
        base, _, offset = place.strip("[]").partition("+")
        address = self._new(f"add i64 {self._get(base, 'b64')}, {offset or 0}")
        if "param" not in parts and (self.is_kernel or "local" not in parts):
            address = self._new(f"call i64 @check(i64 {address}, i64 {size})")
        return address

    def _places(self, parts, registers, place):
        """Return registers, and pointers to where they are in memory."""
        names, size = re.findall(r"[^<>,\s]+", registers), bits_of(parts[-1]) // 8
        address = self._memory(parts, place, size * len(names))
        for i, name in enumerate(names):
            one = self._new(f"add i64 {address}, {i * size}")
            yield name, self._new(f"inttoptr i64 {one} to ptr")

    def _do_ld(self, name, parts, into, place):
        kind = parts[-1]
        for register, p in self._places(parts, into, place):
            self._set(register, self._new(f"load {type_of(kind)}, ptr {p}, align 1"), kind)

    def _do_st(self, name, parts, place, of):
        kind = parts[-1]
        for register, p in self._places(parts, of, place):
            value = self._get(register, kind)
            self.lines.append(f"store {type_of(kind)} {value}, ptr {p}, align 1")

    def _do_atom(self, name, parts, into, place, value):
        assert parts[-2] == "add" and parts[-1][0] in "us", "of whole numbers alone"
        ((_, p),) = self._places(parts, into, place)
        t, value = type_of(parts[-1]), self._get(value, parts[-1])
        self._set(into, self._new(f"atomicrmw add ptr {p}, {t} {value} seq_cst"), parts[-1])

    def _do_cvta(self, name, parts, into, of):
        self._set(into, self._get(of, "b64"), "b64")

    def _do_mov(self, name, parts, into, of):
        bits = bits_of(parts[-1])
        targets, sources = (re.findall(r"[^<>,\s]+", each) for each in (into, of))
        part = bits // max(len(targets), len(sources))
        if len(targets) > 1:
            whole = self._get(of, f"b{bits}")
            for i, target in enumerate(targets):
                value = self._new(f"lshr i{bits} {whole}, {i * part}")
                self._set(target, self._new(f"trunc i{bits} {value} to i{part}"), f"b{part}")
            return
        whole = "0"
        for i, source in enumerate(sources):
            value = self._get(source, f"b{part}")
            if part < bits:
                value = self._new(f"zext i{part} {value} to i{bits}")
            whole = self._new(
                f"or i{bits} {whole}, {self._new(f'shl i{bits} {value}, {i * part}')}"
            )
        self._set(into, whole, "pred" if bits == 1 else f"b{bits}")

    def _do_cvt(self, name, parts, into, of):
        to, start = parts[-2:]
        a, b, n, m = type_of(start), type_of(to), bits_of(start), bits_of(to)
        value = self._get(of, start)
        for rounding in ROUNDING.keys() & set(parts):
            value = self._new(f"call {a} @llvm.{ROUNDING[rounding]}.f{n}({a} {value})")
        if "sat" in parts:
            value = self._new(f"call {a} @llvm.maxnum.f{n}({a} {value}, {a} 0.0)")
            value = self._new(f"call {a} @llvm.minnum.f{n}({a} {value}, {a} 1.0)")
        sign = "s" if (to if start[0] == "f" else start)[0] == "s" else "u"
        if a == b:
            pass
        elif start[0] == "f" != to[0]:
            value = self._new(f"call {b} @llvm.fpto{sign}i.sat.{b}.f{n}({a} {value})")
        elif start[0] == to[0] == "f":
            value = self._new(f"{'fptrunc' if m < n else 'fpext'} {a} {value} to {b}")
        elif to[0] == "f":
            value = self._new(f"{sign}itofp {a} {value} to {b}")
        else:
            how = "trunc" if m < n else {"s": "sext", "u": "zext"}[sign]
            value = self._new(f"{how} {a} {value} to {b}")
        self._set(into, value, to)

    def _do_setp(self, name, parts, into, *of):
        test, kind = parts
        a, b = (self._get(x, kind) for x in of)
        if kind[0] == "f":
            test = f"fcmp u{test[:2]}" if test[2:] == "u" else f"fcmp o{test}"
            test = {"fcmp onan": "fcmp uno", "fcmp onum": "fcmp ord"}.get(test, test)
        else:
            test = f"icmp {test if test in ('eq', 'ne') else kind[0] + test}"
        self._set(into, self._new(f"{test} {type_of(kind)} {a}, {b}"), "pred")

    def _do_selp(self, name, parts, into, a, b, p):
        t, p = type_of(parts[0]), self._get(p, "pred")
        a, b = self._get(a, parts[0]), self._get(b, parts[0])
        self._set(into, self._new(f"select i1 {p}, {t} {a}, {t} {b}"), parts[0])

    def _shift(self, name, parts, into, a, by):
        """All digits are shifted out where there are no more."""
        kind, n = parts[0], bits_of(parts[0])
        how = "ashr" if name == "shr" and kind[0] == "s" else {"shl": "shl", "shr": "lshr"}[name]
        a, by = self._get(a, kind), self._new(f"zext i32 {self._get(by, 'u32')} to i128")
        a = self._new(f"{'sext' if how == 'ashr' else 'zext'} i{n} {a} to i128")
        by = self._new(f"call i128 @llvm.umin.i128(i128 {by}, i128 {n})")
        value = self._new(f"{how} i128 {a}, {by}")
        self._set(into, self._new(f"trunc i128 {value} to i{n}"), kind)

    _do_shl = _do_shr = _shift

    def _do_bfi(self, name, parts, into, a, b, at, length):
        t, mask = type_of(parts[0]), (1 << int(length)) - 1 << int(at)
        a = self._new(f"shl {t} {self._get(a, parts[0])}, {at}")
        a = self._new(f"and {t} {a}, {mask}")
        b = self._new(f"and {t} {self._get(b, parts[0])}, {~mask}")
        self._set(into, self._new(f"or {t} {a}, {b}"), parts[0])

    def _wide(self, name, parts, into, *of):
        """Whole numbers: products of twice the bits, and what is carried."""
        kind, n = parts[-1], bits_of(parts[-1])
        extend = "sext" if kind[0] == "s" else "zext"
        to, high = f"i{2 * n}", parts[0] == "hi"
        values = [self._new(f"{extend} i{n} {self._get(x, kind)} to {to}") for x in of[:2]]
        third = of[2:]
        if name[0] == "m":
            product = self._new(f"mul {to} {values[0]}, {values[1]}")
            if parts[0] == "wide":
                double = f"{kind[0]}{2 * n}"
                for x in third:
                    product = self._new(f"add {to} {product}, {self._get(x, double)}")
                return self._set(into, product, double)
            part = self._new(f"lshr {to} {product}, {n if high else 0}")
            part = self._new(f"and {to} {part}, {(1 << n) - 1}")
            values = [part, *(self._new(f"zext i{n} {self._get(x, kind)} to {to}") for x in third)]
        how = "sub" if name[0] == "s" else "add"
        total = self._new(f"{how} {to} {values[0]}, {values[1]}") if len(values) > 1 else values[0]
        if name[-1] == "c":
            carried = self._new(f"zext i1 {self._get('cc', 'pred')} to {to}")
            total = self._new(f"{how} {to} {total}, {carried}")
        if "cc" in parts:
            above = self._new(f"lshr {to} {total}, {n}")
            self._set("cc", self._new(f"trunc {to} {above} to i1"), "pred")
        self._set(into, self._new(f"trunc {to} {total} to i{n}"), kind)

    def _one_less(self, value, form, parts, of):
        """Return a float32 rounded down, or towards zero, of what is rounded to the nearest."""
        assert parts[-1] == "f32", "float64 has no wider type"
        wide = [self._new(f"fpext float {self._get(x, 'f32')} to double") for x in of]
        exact = self._new(form.format(*wide, t="double", n=64))
        near = self._new(f"fpext float {value} to double")
        bits = self._new(f"bitcast float {value} to i32")
        step = "-1"  # the digits say how far it is from zero, whatever the sign
        if "rz" in parts:
            near, exact = (
                self._new(REAL["abs"].format(x, t="double", n=64)) for x in (near, exact)
            )
        else:
            negative = self._new(f"icmp slt i32 {bits}, 0")
            step = self._new(f"select i1 {negative}, i32 1, i32 -1")
        above = self._new(f"fcmp ogt double {near}, {exact}")
        bits = self._new(f"add i32 {bits}, {self._new(f'select i1 {above}, i32 {step}, i32 0')}")
        return self._new(f"bitcast i32 {bits} to float")

    def _compute(self, name, parts, into, *of):
        kind = parts[-1]
        is_real = kind[0] == "f"
        if not is_real and (
            name[:3] == "mad" or name[-1] == "c" or {"cc", "hi", "wide"} & {*parts}
        ):
            return self._wide(name, parts, into, *of)
        forms = REAL if is_real else WHOLE
        assert name in forms and not {"rp", "sat"} & {*parts}, f"{name}.{'.'.join(parts)}?"
        form = dict(t=type_of(kind), n=bits_of(kind), s="s" if kind[0] == "s" else "u")
        value = self._new(forms[name].format(*(self._get(x, kind) for x in of), **form))
        if {"rm", "rz"} & {*parts}:
            value = self._one_less(value, forms[name], parts, of)
        if parts == ["approx", "ftz", "f64"]:  # the upper half alone is computed
            value = self._new(f"and i64 {self._new(f'bitcast double {value} to i64')}, {-1 << 32}")
            value = self._new(f"bitcast i64 {value} to double")
        self._set(into, value, kind)


# The program --------------------------------------------------------------------------------------

# What `check` knows: a bad address, where is no harm, how many pieces memory has, where they are
FAULT, WASTE, COUNT, SPANS = range(4)
_known, _waste = np.zeros(1 << 17, np.int64), np.zeros(8)

# Runs the threads of a block in turn, as far as each comes; returns where they wait, a bit for each
# barrier, the lowest for the end.
TURN = """
define i64 @check(i64 %address, i64 %size) {{
%f = inttoptr i64 {check} to ptr
%known = inttoptr i64 {known} to ptr
%where = call i64 %f(i64 %address, i64 %size, ptr %known)
ret i64 %where
}}
define i64 @turn(ptr %frames, ptr %params, ptr %order, i64 %ntid, i64 %ctaid, i64 %nctaid) {{
start:
br label %loop
loop:
%i = phi i64 [0, %start], [%j, %next]
%before = phi i64 [0, %start], [%after, %next]
%j = add i64 %i, 1
%place = getelementptr i64, ptr %order, i64 %i
%tid = load i64, ptr %place
%offset = mul i64 %tid, {size}
%frame = getelementptr i8, ptr %frames, i64 %offset
%state = load i64, ptr %frame
%ended = icmp slt i64 %state, 0
br i1 %ended, label %next, label %run
run:
%code = call i64 @{name}(ptr %frame, ptr %params, i64 %tid, i64 %ntid, i64 %ctaid, i64 %nctaid)
%ends = icmp eq i64 %code, 0
%new = select i1 %ends, i64 -1, i64 %code
store i64 %new, ptr %frame
%bit = shl i64 1, %code
%with = or i64 %before, %bit
br label %next
next:
%after = phi i64 [%before, %loop], [%with, %run]
%more = icmp ult i64 %j, %ntid
br i1 %more, label %loop, label %done
done:
ret i64 %after
}}
"""


@numba.cfunc("int64(int64, int64, CPointer(int64))")
def check(address, size, known):
    """Return the address; elsewhere, noting it, if it is not aligned or not on the device."""
    known = numba.carray(known, 1 << 17)
    low, high = 0, known[COUNT]
    while low < high:
        middle = (low + high) // 2
        if known[SPANS + 2 * middle] <= address:
            low = middle + 1
        else:
            high = middle
    if low == 0 or address + size > known[SPANS + 2 * low - 1] or address % size != 0:
        known[FAULT] = address
        return known[WASTE]
    return address


class Program:
    """A kernel that runs on the host.

    Parameters
    ----------
    text : str
        The PTX.
    """

    def __init__(self, text):
        text = re.sub(r"{([^{};]*)}", r"<\1>", re.sub(r"//.*", "", text))
        symbols, self._memory, self._shared = {}, [], []
        arrays = r"\.(shared|global|const) \.align \d+ \.b8 ([\w$]+)\[(\d+)\](?: = <(.*?)>)?;"
        for space, name, length, values in re.findall(arrays, text):
            whole = np.zeros(int(length) // 8 + 1)  # aligned
            block = whole.view(np.uint8)[: int(length)]
            block[: values.count(",") + 1] = [int(v) for v in values.split(",") if v] or 0
            symbols[name] = str(block.ctypes.data)
            self._memory.append(block)
            if space == "shared":
                self._shared.append(block)
        functions = []
        heads = r"\.(entry|func)\s*(?:\(([^()]*)\))?\s*([\w$]+)\s*\(([^()]*)\)\s*{"
        for head in re.finditer(heads, text):
            kind, result, name, rest = head.groups()
            parameters = re.findall(
                r"([\w$]+)(?:\[\d+\])?\s*(?:,|$)", f"{result or ''},{rest.strip()}"
            )
            depth, end = 1, head.end()
            while depth > 0:
                depth += {"{": 1, "}": -1}.get(text[end], 0)
                end += 1
            body = re.sub(r"[{}]", "", text[head.end() : end])
            functions.append(Function(kind, name, parameters, body, symbols))
        (self._kernel,) = (f for f in functions if f.is_kernel)
        addresses = {"check": check.address, "known": _known.ctypes.data}
        turn = TURN.format(size=self._kernel.size, name=self._kernel.name, **addresses)
        self._engine = _compiled("\n".join([turn, *(f.text for f in functions)]))
        whole, pointer = ctypes.c_int64, ctypes.c_void_p
        form = ctypes.CFUNCTYPE(whole, pointer, pointer, pointer, whole, whole, whole)
        self._turn = form(self._engine.get_function_address("turn"))

    def launch(self, blocks, threads, arguments, spans, lots):
        """Run it.

        Parameters
        ----------
        blocks, threads : int
            How many, in one dimension.
        arguments : list of bytes
            Of the kernel.
        spans : list of tuple of int
            Where memory on the device begins and ends.
        lots : numpy.random.Generator
            Draws the order of threads.
        """
        given = [ctypes.create_string_buffer(a, len(a)) for a in arguments]
        places = np.array([ctypes.addressof(a) for a in given], np.int64)
        frames = np.zeros((threads, self._kernel.size // 8), np.int64)
        own = [(a.ctypes.data, a.ctypes.data + a.nbytes) for a in (*self._memory, frames)]
        table = np.array(sorted([*spans, *own]), np.int64).ravel()
        _known[: SPANS + table.size] = [0, _waste.ctypes.data, table.size // 2, *table]
        for block in range(blocks):
            frames[:, 0], waiting = 0, 0
            for shared in self._shared:
                shared[:] = 255
            while waiting != 1:
                order = lots.permutation(threads)
                addresses = (a.ctypes.data for a in (frames, places, order))
                waiting = self._turn(*addresses, threads, block, blocks)
                assert (waiting >> 1).bit_count() <= 1, "threads wait at different barriers"
        assert _known[FAULT] == 0, f"{self._kernel.name}: bad address {_known[FAULT]}"


def _compiled(text):
    """Return what keeps the compiled code."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    host = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    machine = llvm.Target.from_default_triple().create_target_machine(*host, opt=1)
    module = llvm.parse_assembly(text)
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=1))
    builder.getModulePassManager().run(module, builder)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine
