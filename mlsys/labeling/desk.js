function frame(el) {  // what stays while the cards change
  const make = (tag, into, attributes) => {
    const made = into.appendChild(document.createElement(tag));
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const desk = make("section", el, { class: "mlsys-desk", tabindex: 0, "aria-label": "labelling desk" });
  return { desk, card: make("div", desk, {}), said: make("p", desk, { class: "desk-said", role: "status" }) };
}
function render({ model, el }) {
  const { desk, card, said } = frame(el);
  let waiting = 0, tallest = 0;
  const say = (text, bad) => { said.textContent = text; desk.classList.toggle("desk-bad", bad); };
  const draw = () => {
    const view = model.get("view"), focused = desk.contains(document.activeElement);
    clearTimeout(waiting);
    waiting = 0;
    card.innerHTML = view.html;  // made and escaped in Python
    const body = card.querySelector(".desk-body");
    tallest = Math.max(tallest, body.offsetHeight);
    body.style.minHeight = tallest + "px";  // buttons do not jump from row to row
    say(view.said, view.bad);
    if (focused) desk.focus({ preventScroll: true });
  };
  const send = (action, label) => {
    if (waiting) return;
    waiting = setTimeout(say, 2000, "Not confirmed: the kernel does not answer. If it was restarted, run this cell again.", true);
    model.send({ action, label, row: model.get("view").row });
  };
  card.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) send(button.dataset.action, button.dataset.label || null);
  });
  desk.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || ["Escape", "Tab"].includes(event.key)) return;
    if (event.shiftKey && event.key === "Enter") return;
    event.stopPropagation();  // the notebook has keys of its own: one slip, and `d` `d` would delete the cell
    const does = model.get("keymap")[event.key.toLowerCase()], step = { ArrowDown: 80, ArrowUp: -80 }[event.key];
    if (!does && !step) return;
    event.preventDefault();
    if (step) card.querySelector(".desk-row").scrollBy(0, step);
    else if (!event.repeat) send(...does);  // a key that is held down answers once
  });
  model.on("change:view", draw);
  draw();
  return () => model.off("change:view", draw);
}
export default { render };
