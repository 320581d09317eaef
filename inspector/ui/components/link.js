// The address of what is on screen, to be copied ("copy"), or what stands behind the # of a link just opened ("read").
// In: {mode, search, fragment}. Out: the trigger "fragment", the text behind the #, once.

const read = new WeakSet(); // the roots that have answered: this function runs again for every change of theme

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  if (data.mode === "copy") return copy(parentElement, data);
  if (read.has(parentElement)) return;
  read.add(parentElement);
  const said = location.hash.slice(1);
  // Out of the address bar, and of this tab's history.
  history.replaceState(history.state, "", location.pathname + location.search);
  setTriggerValue("fragment", said);
}

function copy(root, { search, fragment }) {
  const [field, button, word] = ["input", "button", "span"].map((name) => root.querySelector(name));
  const address = location.origin + location.pathname + search + fragment;
  if (field.value !== address) word.textContent = "";
  field.value = address;
  field.onfocus = () => field.select();
  button.onclick = async () => {
    try {
      await navigator.clipboard.writeText(field.value);
      word.textContent = "Copied.";
    } catch {
      field.focus(); // not allowed to, or not over https: the visitor copies it from the field
      field.select();
      word.textContent = "This browser does not let a page copy: press Ctrl+C (⌘C).";
    }
  };
}
