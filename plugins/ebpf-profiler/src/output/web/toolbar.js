// Search box, way back from a zoom, and what is not shown; the same beside flames and icicle.
function toolbar(graph, scope) {
  const make = (name, properties) => {
    const made = document.createElementNS('http://www.w3.org/1999/xhtml', name);
    return Object.assign(made, properties);
  };
  const bar = make('div', { className: 'toolbar' });
  const input = make('input', {
    type: 'search',
    placeholder: 'Search: regular expression',
    title: 'Names that match are marked. Key: /',
    spellcheck: false,
    autocomplete: 'off',
  });
  input.setAttribute('aria-label', 'Search by regular expression');
  const matched = make('span', { className: 'matched' });
  matched.setAttribute('role', 'status');
  const reset = make('button', { type: 'button', textContent: 'Reset zoom', title: 'Key: Escape' });
  const narrow = make('span', { className: 'narrow' });
  bar.append(input, matched, reset, narrow);

  const look = () => {
    let pattern = null;
    let wrong = '';
    try {
      // Case counts once the pattern has a capital.
      const flags = /[A-Z]/.test(input.value.replace(/\\./g, '')) ? '' : 'i';
      if (input.value) pattern = new RegExp(input.value, flags);
    } catch (error) {
      wrong = 'not a regular expression';
    }
    graph.search(pattern);
    input.classList.toggle('wrong', Boolean(wrong));
    if (wrong) matched.textContent = wrong;
  };
  input.addEventListener('input', look);
  input.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') {
      searchFor('');
    }
  });
  reset.addEventListener('click', () => graph.zoom(0));
  scope.addEventListener('keydown', (event) => {
    if (event.target === input || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === '/') {
      input.focus();
      input.select();
    } else if (event.key === 'Escape' && !event.defaultPrevented) {
      graph.zoom(0);
    } else {
      return;
    }
    event.preventDefault();
  });

  graph.listeners.push(() => {
    const { tree, hits, hidden } = graph;
    matched.textContent = '';
    if (hits) {
      // What was left out of the file may match too.
      const least = tree.missing ? 'at least ' : '';
      matched.textContent = `${least}${share(tree.held((it) => hits[it]), tree.weight[0])} matched`;
    }
    reset.disabled = graph.zoomed === 0;
    narrow.textContent = hidden > 0 ? `${format(hidden)} too narrow to show` : '';
    narrow.title = 'Frames narrower than 0.3 pixels; zoom to see them.';
  });
    // Searches for a text as if it had been typed.
  const searchFor = (text) => {
    input.value = text;
    look();
  };
  return { bar, searchFor };
}
