/**
 * The browser's part of the labelling desk, a widget of anywidget.
 *
 * Python makes the card, and keeps the answers. This file puts the card in its place, keeps the focus, and
 * sends keys and clicks together with the row that they were meant for. An answer counts as saved when the
 * next view arrives, which Python sends only after the line is on disk.
 */

/** After so many milliseconds without a reply, nobody knows whether the answer was saved. */
const PATIENCE = 2000;
const NOT_CONFIRMED =
  "Not confirmed: the kernel does not answer. If it was restarted, run this cell again.";

/** What the arrow keys scroll by, in pixels. */
const SCROLL = { ArrowDown: 80, ArrowUp: -80 };

/** Make an element at the end of another one. */
function append(parent, tag, attributes = {}) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, value);
  }
  return parent.appendChild(element);
}

/** Escape, Tab, Shift+Enter and whatever is pressed with Ctrl, Alt or Meta stay keys of the notebook. */
function isForNotebook(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return true;
  if (event.key === "Escape" || event.key === "Tab") return true;
  return event.shiftKey && event.key === "Enter";
}

class Desk {
  constructor(model, parent) {
    this.model = model;
    this.frame = append(parent, "section", {
      class: "mlsys-desk",
      tabindex: 0,
      "aria-label": "labelling desk",
    });
    this.card = append(this.frame, "div");
    this.message = append(this.frame, "p", { class: "desk-message", role: "status" });
    this.timer = null; // runs while an answer is on its way
    this.tallest = 0; // height of the tallest row so far

    this.card.addEventListener("click", (event) => this.onClick(event));
    this.frame.addEventListener("keydown", (event) => this.onKey(event));
  }

  /** Show the view that Python sent. */
  draw() {
    const view = this.model.get("view");
    const focused = this.frame.contains(document.activeElement);
    this.stopWaiting();
    this.card.innerHTML = view.html; // made and escaped in Python
    this.keepHeight();
    this.say(view.message, view.failed);
    if (focused) this.frame.focus({ preventScroll: true });
  }

  /** Buttons must not jump from row to row. */
  keepHeight() {
    const body = this.card.querySelector(".desk-body");
    this.tallest = Math.max(this.tallest, body.offsetHeight);
    body.style.minHeight = `${this.tallest}px`;
  }

  say(text, failed) {
    this.message.textContent = text;
    this.frame.classList.toggle("desk-failed", failed);
  }

  /** Ask Python for something; until it replies, nothing else is sent. */
  send({ action, label }) {
    if (this.timer !== null) return;
    this.timer = setTimeout(() => this.giveUp(), PATIENCE);
    this.model.send({ action, label, position: this.model.get("view").position });
  }

  stopWaiting() {
    clearTimeout(this.timer);
    this.timer = null;
  }

  /** Say that no reply came. Still nothing is sent: a reply may come late. */
  giveUp() {
    this.say(NOT_CONFIRMED, true);
  }

  onClick(event) {
    const button = event.target.closest("button");
    if (!button) return;
    this.send({ action: button.dataset.action, label: button.dataset.label || null });
  }

  onKey(event) {
    if (isForNotebook(event)) return;
    event.stopPropagation(); // or the notebook's own keys: one slip, and `d` `d` would delete the cell
    const command = this.model.get("keymap")[event.key.toLowerCase()];
    const step = SCROLL[event.key];
    if (!command && !step) return;
    event.preventDefault();
    if (step) this.card.querySelector(".desk-row").scrollBy(0, step);
    else if (!event.repeat) this.send(command); // a key that is held down answers once
  }
}

function render({ model, el }) {
  const desk = new Desk(model, el);
  const draw = () => desk.draw();
  model.on("change:view", draw);
  draw();
  return () => {
    model.off("change:view", draw);
    desk.stopWaiting();
  };
}

export default { render };
