// The browser of rollouts: filters, one group at a time, keys. Every text is set as text, never as markup.
"use strict";

(() => {
  const { groups, images } = JSON.parse(document.getElementById("rollout-data").textContent);
  const form = document.getElementById("filters");
  const fields = form.elements;
  const position = document.getElementById("position");
  const help = document.getElementById("help");
  const view = document.getElementById("group");

  const SPLITS = { train: "training", val: "validation" };
  const OUTCOMES = { right: "all right", mixed: "mixed", wrong: "all wrong" };
  const SHOWN_COMPONENTS = [
    ["acc_flexible", "right in any format"],
    ["step_rar", "StepRAR"],
    ["step_rvr", "StepRVR"],
    ["key_step_match", "key steps"],
    ["equations", "equations"],
    ["false_equations", "steps with a false one"],
    ["complete", "complete"],
    ["ordered", "in order"],
    ["answered", "answered"],
    ["verifier_timeout", "timeout"],
    ["verifier_failed", "not judged"],
    ["unparseable", "unparseable"],
  ];
  const PART = "extra_"; // begins the name of a part beside StepRAR and StepRVR
  const LONG = 4000; // characters; a longer section scrolls by itself

  let shown = groups; // those that pass the filters
  let at = 0; // place in them

  function element(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  // ---- Filters

  const searchTexts = new Map(); // made when first searched, since it holds every text once more

  function searchText(group) {
    if (!searchTexts.has(group)) {
      const responses = group.rollouts.flatMap((rollout) =>
        rollout.sections.map((section) => `${section.header} ${section.pieces.map((piece) => piece[0]).join("")}`),
      );
      searchTexts.set(group, [group.prompt, group.truth, group.index ?? "", ...responses].join("\n").toLowerCase());
    }
    return searchTexts.get(group);
  }

  function hasOutcome(group, wanted) {
    if (wanted === "equal") return group.isEqual;
    if (wanted === "moving") return group.isMoving;
    return !wanted || group.outcome === wanted;
  }

  // A field that was emptied, or is being typed into, bounds nothing.
  function bound(field, otherwise) {
    return field.value === "" || Number.isNaN(field.valueAsNumber) ? otherwise : field.valueAsNumber;
  }

  function matchRange() {
    return { low: bound(fields.low, 0) / 100, high: bound(fields.high, 100) / 100 };
  }

  function hasMatch(group, { low, high }) {
    if (low <= 0 && high >= 1) return true;
    // A prompt without key steps has no match, which is in no range.
    const within = ({ components: { key_step_match: match } }) => match >= low && match <= high;
    return group.rollouts.some(within);
  }

  function applyFilters() {
    const before = shown[at];
    const wanted = fields.search.value.trim().toLowerCase();
    const range = matchRange();
    shown = groups.filter(
      (group) =>
        (!fields.split.value || group.split === fields.split.value) &&
        (!fields.step.value || group.step === Number(fields.step.value)) &&
        hasOutcome(group, fields.outcome.value) &&
        hasMatch(group, range) &&
        (!wanted || searchText(group).includes(wanted)),
    );
    // Who narrows the filters keeps the group in sight where it is still there.
    show(Math.max(0, shown.indexOf(before)));
  }

  function fillChoices() {
    const splits = [...new Set(groups.map((group) => group.split))];
    fields.split.append(...splits.map((split) => element("option", { value: split }, SPLITS[split])));
    fillSteps();
  }

  function fillSteps() {
    const own = groups.filter((group) => !fields.split.value || group.split === fields.split.value);
    const steps = [...new Set(own.map((group) => group.step))].sort((a, b) => a - b);
    const chosen = fields.step.value;
    fields.step.replaceChildren(
      element("option", { value: "" }, "all"),
      ...steps.map((step) => element("option", { value: step }, String(step))),
    );
    fields.step.value = steps.includes(Number(chosen)) ? chosen : "";
  }

  function chooseStep({ split, step, outcome }) {
    form.reset();
    fields.split.value = split;
    fillSteps();
    fields.step.value = step;
    fields.outcome.value = outcome ?? "";
    applyFilters();
    document.getElementById("rollouts").scrollIntoView();
  }

  // ---- One group

  const number = (value, digits = 3) => value.toFixed(digits).replace("-", "−");
  const signed = (value) => (value > 0 ? "+" : "") + number(value, 2);
  const percent = (share) => `${Math.round(share * 100)}%`;
  const tone = (value) => (value > 0.005 ? "up" : value < -0.005 ? "down" : "even");

  function credit(value, title) {
    if (value === null || value === undefined) return null;
    return element("span", { class: `credit ${tone(value)}`, title }, signed(value));
  }

  function verdict(rollout) {
    const isRight = rollout.components.acc === 1;
    return element("span", { class: isRight ? "verdict right" : "verdict wrong" }, isRight ? "✓ right" : "✗ wrong");
  }

  function pieceNode([text, found]) {
    if (!found) return text;
    const labels = found.map((one) => one + 1).join(", ");
    const mark = element("mark", { title: `key step ${labels}` }, text);
    // The number is no text of the response: who copies that does not get it.
    return element("span", {}, mark, element("sup", { role: "img", "aria-label": `key step ${labels}`, "data-numbers": labels }));
  }

  function sectionNode(section) {
    const length = section.pieces.reduce((sum, piece) => sum + piece[0].length, 0);
    const isLong = length > LONG;
    const body = element("div", { class: isLong ? "body long" : "body", dir: "auto", tabindex: isLong ? 0 : null });
    body.append(...section.pieces.map(pieceNode));
    const header = section.header || "before any header";
    const head = element("h4", { class: section.header ? null : "muted" }, element("bdi", {}, header));
    const own = credit(section.credit, "advantage of these tokens");
    const size = isLong ? element("span", { class: "muted" }, `${length.toLocaleString("en")} characters`) : null;
    return element("section", { class: `part ${section.kind || "none"}` }, element("header", {}, head, size, own), body);
  }

  function keyStepNode(wordings, found, miss, i) {
    const name = element("bdi", {}, found ? found.wording : wordings[0]);
    const others = wordings.length > 1 ? `Equivalent wordings: ${wordings.join(" | ")}` : null;
    const place = found
      ? `${found.step === null ? "image description" : `step ${found.step + 1}`}${found.similarity < 1 ? `, similarity ${number(found.similarity, 2)}` : ""}`
      : `missed${miss ? `: ${miss}` : ""}`;
    return element(
      "li",
      { class: found ? "found" : "missed", title: others },
      element("span", { class: "sign" }, `${found ? "✓" : "○"} ${i + 1}`),
      name,
      element("span", { class: "muted" }, place),
    );
  }

  function equationsNode({ falseEquations }) {
    if (!falseEquations.length) return null;
    const items = falseEquations.map(({ step, text, values: [left, right] }) =>
      element(
        "li",
        { class: "missed" },
        element("span", { class: "sign" }, "✗"),
        element("bdi", {}, text),
        element("span", { class: "muted" }, `step ${step + 1}: ${left} is not ${right}`),
      ),
    );
    return element("ul", { class: "keysteps", "aria-label": "False equations" }, ...items);
  }

  function keyStepsNode(group, rollout) {
    if (!group.keySteps.length) return element("p", { class: "muted" }, "This prompt has no key steps.");
    const items = group.keySteps.map((wordings, i) => keyStepNode(wordings, rollout.found[i], rollout.misses[i], i));
    return element("ul", { class: "keysteps", "aria-label": "Key steps" }, ...items);
  }

  const YES_OR_NO = ["acc_flexible", "complete", "ordered", "answered", "verifier_timeout", "verifier_failed", "unparseable"];
  const FAULTS = ["verifier_timeout", "verifier_failed", "unparseable"]; // shown where they happened

  function componentNode([name, label], components) {
    const value = components[name];
    if (value === undefined) return null; // not known, or nothing to match
    const isFault = FAULTS.includes(name);
    if (isFault && !value) return null;
    const text = !YES_OR_NO.includes(name) ? number(value) : value ? "yes" : "no";
    const isBad = isFault || text === "no";
    return element("div", { class: isBad ? "bad" : null }, element("dt", {}, label), element("dd", {}, text));
  }

  function componentsNode(rollout) {
    const { components, advantage } = rollout;
    const main = [["reward", number(components.score)]];
    if (advantage !== null) main.push(["advantage", credit(advantage)]);
    return element(
      "dl",
      { class: "parts" },
      ...main.map(([label, value]) =>
        element("div", { class: "main" }, element("dt", {}, label), element("dd", {}, value)),
      ),
      ...SHOWN_COMPONENTS.map((pair) => componentNode(pair, components)),
      ...Object.keys(components).filter((name) => name.startsWith(PART)).map((name) => componentNode([name, name.slice(PART.length)], components)),
    );
  }

  function faultsNode({ faults }) {
    // What is missing is not in order either, and said once.
    const others = faults.ordered?.filter((one) => !faults.complete?.includes(one));
    const said = [["Not complete", faults.complete], ["Not in order", others]]
      .filter(([, reasons]) => reasons?.length)
      .map(([what, reasons]) => `${what}: ${reasons.join(", ")}.`);
    return said.length ? element("p", { class: "faults" }, said.join(" ")) : null;
  }

  function lastAnswerNode({ lastAnswer }) {
    if (!lastAnswer) return null;
    const { text, layer, reason } = lastAnswer;
    const given = element("bdi", { class: "answer" }, text);
    const by = element("span", {}, "by ", element("code", {}, layer), ": ");
    return element("p", { class: "decision last" }, "Last answer, in any format: ", given, " ", by, element("bdi", {}, reason));
  }

  function answerNode(rollout) {
    const { text, layer, reason } = rollout.answer;
    const by = layer === "none" ? null : element("span", {}, "by ", element("code", {}, layer), ": ");
    const given = text ? element("bdi", { class: "answer" }, text) : null;
    return element("p", { class: "decision" }, given, " ", by, element("bdi", {}, reason));
  }

  function rolloutNode(group, rollout, i) {
    const title = `Response ${i + 1} of ${group.rollouts.length}`;
    return element(
      "article",
      { class: "rollout", id: `response-${i + 1}`, tabindex: "-1", "aria-label": title },
      element("header", {}, element("h3", {}, `Response ${i + 1}`), verdict(rollout)),
      answerNode(rollout),
      lastAnswerNode(rollout),
      componentsNode(rollout),
      faultsNode(rollout),
      keyStepsNode(group, rollout),
      equationsNode(rollout),
      element("div", { class: "text" }, ...rollout.sections.map(sectionNode)),
    );
  }

  function chipNode(rollout, i) {
    const isRight = rollout.components.acc === 1;
    const label = `Response ${i + 1}: ${isRight ? "right" : "wrong"}, reward ${number(rollout.components.score, 2)}`;
    const chip = element(
      "button",
      { type: "button", class: isRight ? "chip right" : "chip wrong", "aria-label": label },
      `${isRight ? "✓" : "✗"} ${number(rollout.components.score, 2)}`,
      credit(rollout.advantage),
    );
    chip.addEventListener("click", () => showResponse(i + 1));
    return chip;
  }

  function questionNode(group) {
    const pictures = group.images.map((image, i) =>
      element("img", { src: images[image], alt: `Image ${i + 1} of the prompt` }),
    );
    const prompt = element("div", { class: "prompt body", dir: "auto" }, group.prompt || "The trace has no prompt.");
    const truth = element("p", { class: "truth" }, "Reference answer ", element("bdi", { class: "answer" }, group.truth));
    return element(
      "div",
      { class: "question" },
      pictures.length ? element("div", { class: "pictures" }, ...pictures) : null,
      element("div", {}, prompt, truth),
    );
  }

  function groupState(group) {
    const notes = [OUTCOMES[group.outcome]];
    if (group.isEqual) notes.push("no variance");
    if (group.isMoving) notes.push("moves the policy");
    return notes.join(", ");
  }

  function groupHeading(group) {
    const index = group.index === null ? null : element("span", { class: "muted" }, `index ${group.index}`);
    const source = group.source === null ? null : element("span", { class: "muted" }, element("bdi", {}, group.source));
    return element(
      "header",
      { class: "heading" },
      element("strong", {}, `${SPLITS[group.split]}, step ${group.step}`),
      element("span", { class: `state ${group.outcome}` }, groupState(group)),
      source,
      index,
    );
  }

  // Responses keep the numbers that they have in the traces.
  function inOrder(rollouts) {
    const numbered = [...rollouts.entries()];
    if (fields.order.value !== "reward") return numbered;
    return numbered.sort(([, a], [, b]) => b.components.score - a.components.score);
  }

  function groupNode(group) {
    const range = matchRange();
    const strip = element("div", { class: "strip", tabindex: "0", role: "group", "aria-label": "Responses" });
    const chips = element("div", { class: "chips", role: "group", "aria-label": "Go to a response" });
    for (const [i, rollout] of inOrder(group.rollouts)) {
      const node = rolloutNode(group, rollout, i);
      node.classList.toggle("outside", !hasMatch({ rollouts: [rollout] }, range));
      strip.append(node);
      chips.append(chipNode(rollout, i));
    }
    return [groupHeading(group), questionNode(group), chips, strip];
  }

  function show(place) {
    at = Math.min(Math.max(0, place), Math.max(0, shown.length - 1));
    const group = shown[at];
    const none = element("p", { class: "empty" }, "No group passes these filters.");
    view.replaceChildren(...(group ? groupNode(group) : [none]));
    position.max = shown.length;
    position.value = group ? at + 1 : "";
    document.getElementById("total").textContent = shown.length.toLocaleString("en");
    document.getElementById("previous").disabled = at === 0;
    document.getElementById("next").disabled = at >= shown.length - 1;
    document.getElementById("status").textContent = group
      ? `Group ${at + 1} of ${shown.length}, ${SPLITS[group.split]} step ${group.step}, ${groupState(group)}`
      : "No group passes these filters.";
  }

  function showResponse(n) {
    const rollout = document.getElementById(`response-${n}`);
    if (!rollout) return;
    rollout.scrollIntoView({ block: "nearest", inline: "start" });
    rollout.focus({ preventScroll: true });
  }

  // ---- Keys

  // The first group of the next step, or of the one before.
  function otherStep(direction) {
    const isOther = (group) => group.step !== shown[at].step || group.split !== shown[at].split;
    let place = at;
    while (shown[place + direction] && !isOther(shown[place])) place += direction;
    if (!shown[place] || !isOther(shown[place])) return;
    if (direction > 0) return show(place);
    const { split, step } = shown[place];
    show(shown.findIndex((group) => group.split === split && group.step === step));
  }

  function intoView() {
    const box = document.getElementById("rollouts").getBoundingClientRect();
    if (box.top > window.innerHeight * 0.8 || box.bottom < 0) document.getElementById("rollouts").scrollIntoView();
  }

  const KEYS = {
    j: () => show(at + 1),
    k: () => show(at - 1),
    ArrowRight: () => show(at + 1),
    ArrowLeft: () => show(at - 1),
    n: () => otherStep(1),
    p: () => otherStep(-1),
    "/": () => fields.search.focus(),
    "?": () => help.showModal(),
  };

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    const isTyping = event.target.matches("input, select, textarea");
    if (isTyping) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    // In the strip of responses the arrows scroll it.
    if (event.key.startsWith("Arrow") && event.target.closest(".strip, .long")) return;
    const action = /^[1-9]$/.test(event.key) ? () => showResponse(Number(event.key)) : KEYS[event.key];
    if (!action) return;
    event.preventDefault();
    if (event.key !== "?") intoView();
    action();
  }

  function debounced(action, milliseconds) {
    let timer;
    return () => {
      clearTimeout(timer);
      timer = setTimeout(action, milliseconds);
    };
  }

  function listen() {
    form.addEventListener("submit", (event) => event.preventDefault());
    // Searching 5,000 responses takes a moment: not at every letter.
    const applyLater = debounced(applyFilters, 150);
    form.addEventListener("input", (event) => {
      if (event.target === fields.split) fillSteps();
      if (event.target === fields.search) applyLater();
      else applyFilters();
    });
    // A form resets its fields after this event.
    form.addEventListener("reset", () => setTimeout(() => (fillSteps(), applyFilters())));
    position.addEventListener("change", () => show(position.valueAsNumber - 1 || 0));
    document.getElementById("previous").addEventListener("click", () => show(at - 1));
    document.getElementById("next").addEventListener("click", () => show(at + 1));
    document.getElementById("show-help").addEventListener("click", () => help.showModal());
    document.addEventListener("keydown", onKey);
    document.addEventListener("choose-step", (event) => chooseStep(event.detail));
  }

  fillChoices();
  listen();
  show(0);
})();
