/* Bootstrap ignores a wish to close a dialog that is still opening: who is quick would see it stay. */

/** Show the dialog; returns the function that closes it, at the latest when it has opened. */
export function openModal(root) {
  const modal = window.tabler.Modal.getOrCreateInstance(root);
  const opened = new Promise((resolve) => root.addEventListener("shown.bs.modal", resolve, { once: true }));
  modal.show();
  return () => opened.then(() => modal.hide());
}
