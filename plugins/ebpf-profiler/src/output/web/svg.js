// Takes the picture's place with what can be used.
function start(svg) {
  const standalone = svg === document.documentElement;
  // As part of a page its title would be a tooltip everywhere.
  if (!standalone) {
    const title = svg.querySelector('title');
    svg.setAttribute('aria-label', title.textContent);
    title.remove();
  }
  const tree = new Tree(JSON.parse(svg.querySelector('metadata').textContent));
  svg.removeAttribute('viewBox');
  svg.setAttribute('width', '100%');

  const texts = Array.from(svg.querySelectorAll('.title, .facts'), (it) => [it, it.textContent]);
  const legend = svg.querySelector('.legend').getBBox();
  const head = svg.querySelector('.head');
  const room = element('foreignObject', { height: 32 });
  // The toolbar lies beside the legend where there is room, else below it. Tells where frames begin.
  const arrange = () => {
    const width = svg.getBoundingClientRect().width;
    const beside = legend.width ? legend.x + legend.width + 30 : PAD;
    const fits = width - beside > 560;
    const left = fits ? beside : PAD;
    room.setAttribute('x', left);
    room.setAttribute('y', fits ? 61 : 94);
    room.setAttribute('width', Math.max(100, width - PAD - left));
    for (const [text, whole] of texts) fit(text, whole, width - 2 * PAD);
    const top = fits ? 104 : 136;
    head.querySelector('.paper').setAttribute('height', top);
    return top;
  };
  const graph = new Graph(svg, tree, { upwards: true, pad: PAD, arrange });
  const { bar } = toolbar(graph, standalone ? document : svg);
  room.append(bar);
  head.append(room);
  graph.draw();
  if (!standalone) return;
  // Above a tall picture the heading stays in view, and the root is what one sees first.
  const follow = () => head.setAttribute('transform', `translate(0 ${window.scrollY})`);
  window.addEventListener('scroll', follow, { passive: true });
  window.scrollTo(0, document.documentElement.scrollHeight);
  follow();
}

function fit(text, whole, width) {
  text.textContent = whole;
  let longest = whole.length;
  while (longest > 2 && text.getComputedTextLength() > width) {
    longest -= 1;
    text.textContent = shorten(whole, longest);
  }
}

start(document.currentScript?.closest('svg') ?? document.documentElement);
