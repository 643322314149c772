// The icicle, and the table of functions below it.
function start() {
  const data = JSON.parse(document.querySelector('script[type="application/json"]').textContent);
  const tree = new Tree(data);
  const svg = document.querySelector('.graph');
  const graph = new Graph(svg, tree, { upwards: false, pad: 0, arrange: () => 0 });
  const { bar, searchFor } = toolbar(graph, document);
  document.querySelector('.bar').append(bar);
  new Table(document.querySelector('table'), graph, data.top, searchFor);
  graph.draw();
}

class Table {
  constructor(table, graph, rows, searchFor) {
    Object.assign(this, { graph, searchFor });
    const { tree } = graph;
    const weight = ([count, nanos]) => (tree.waits ? nanos : count);
    this.rows = rows.map(([of, own, total]) => ({
      of,
      name: tree.functions[of].name,
      place: tree.functions[of].place,
      own: weight(own),
      total: weight(total),
    }));
    this.columns = [
      { key: 'own', label: 'Self', number: true },
      { key: 'total', label: 'Total', number: true },
      { key: 'name', label: 'Function' },
      { key: 'place', label: 'File' },
    ];
    this.key = 'own';
    this.ascending = false;
    this.head = table.createTHead().insertRow();
    this.body = table.createTBody();
    for (const column of this.columns) this.head.append(this.title(column));
    graph.listeners.push(() => this.draw());
  }

  title(column) {
    const cell = document.createElement('th');
    cell.scope = 'col';
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = column.label;
    button.addEventListener('click', () => {
      this.ascending = this.key === column.key ? !this.ascending : !column.number;
      this.key = column.key;
      this.draw();
    });
    cell.append(button);
    cell.className = column.number ? 'number' : '';
    return cell;
  }

  draw() {
    const { columns, graph, key } = this;
    columns.forEach((column, index) => {
      const order = this.ascending ? 'ascending' : 'descending';
      this.head.cells[index].setAttribute('aria-sort', column.key === key ? order : 'none');
    });
    const shown = this.rows.filter((row) => !graph.hits || graph.hits[row.of]);
    const sign = this.ascending ? 1 : -1;
    const compare = (a, b) => (typeof a === 'number' ? a - b : a.localeCompare(b, 'en'));
    shown.sort((a, b) => sign * compare(a[key], b[key]));
    this.body.replaceChildren(...shown.map((row) => this.row(row)));
  }

  row(row) {
    const { tree } = this.graph;
    const made = document.createElement('tr');
    const cell = (text, name) => {
      const it = made.insertCell();
      it.className = name;
      it.append(text);
    };
    const amount = (value) => {
      const text = tree.waits ? duration(value) : format(value);
      return value === 0 ? '' : `${text}  ${share(value, tree.weight[0]).padStart(6)}`;
    };
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = row.name;
    button.title = 'Search for it';
    button.addEventListener('click', () => {
      this.searchFor(`^${row.name.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')}$`);
    });
    cell(amount(row.own), 'number');
    cell(amount(row.total), 'number');
    cell(button, 'name');
    cell(row.place, 'place');
    return made;
  }
}

start();
