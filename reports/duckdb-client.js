// Stands in for @evidence-dev/universal-sql/client-duckdb, with the same exports. Evidence's reads Parquet files, for which
// DuckDB-wasm downloads an extension from the internet; this one reads Arrow files, for which it needs none, and fetches a
// table when a query first names it.
import { tableFromIPC, Type } from 'apache-arrow';
// not among the package's exports, hence by its place
import { arrowTableToJSON } from './node_modules/@evidence-dev/universal-sql/src/client-duckdb/both.js';

export { arrowTableToJSON, tableFromIPC };

/** What the site's tables are called in a query, with where they come from and their arrival, once somebody asked. */
/** @type {Map<string, {schema: string, name: string, url: string, arrival?: Promise<void>}>} */
const tables = new Map();
let known;
const knowing = new Promise((resolve) => (known = resolve));

async function connect() {
	const [{ AsyncDuckDB, VoidLogger }, { default: Worker }, { default: wasm }] = await Promise.all([
		import('@duckdb/duckdb-wasm'),
		import('@duckdb/duckdb-wasm/dist/duckdb-browser-eh.worker.js?worker'),
		import('@duckdb/duckdb-wasm/dist/duckdb-eh.wasm?url')
	]);
	const db = new AsyncDuckDB(new VoidLogger(), new Worker());
	await db.instantiate(wasm);
	// as Evidence's own client has it
	await db.open({
		query: { castBigIntToDouble: true, castTimestampToDate: true, castDecimalToDouble: true, castDurationToTime64: true }
	});
	const connection = await db.connect();
	await connection.query('SET ieee_floating_point_ops = false; SET old_implicit_casting = true;');
	return connection;
}

// Pages are made in the browser; Node, which loads this file too, has nothing to ask.
const isBrowser = typeof window !== 'undefined';
let connecting;

/** The database, started at the first call: that takes a second, and 6 MB where the browser has not kept them. */
const database = () => (connecting ??= connect());

// The overview needs no database, what is opened from it does.
if (isBrowser && !navigator.connection?.saveData) {
	window.addEventListener('load', () => setTimeout(() => database().catch(() => {}), 1500));
}

/** Evidence starts the database here; this one starts when it is needed. */
export async function initDB() {}

/**
 * Tell which tables there are.
 * @param {Record<string, string[]>} urls the addresses of the Arrow files of each source
 * @param {{addBasePath?: (path: string) => string}} [options]
 */
export async function setParquetURLs(urls, { addBasePath = (x) => x } = {}) {
	for (const [schema, files] of Object.entries(urls)) {
		for (const file of files) {
			const name = file.split('/').at(-1).replace(/\.arrow$/, '');
			const url = addBasePath('/' + file.replace(/^\/?(static\/)?/, ''));
			if (tables.get(`${schema}.${name}`)?.url !== url) tables.set(`${schema}.${name}`, { schema, name, url });
		}
	}
	known();
}

/** Which schemas a query's tables are looked for in: none, so that a query says which tables it needs, as in gold.invoices. */
export async function updateSearchPath() {}

/** @returns {Promise<ArrayBuffer>} */
async function file(table) {
	const response = await fetch(table.url);
	if (!response.ok) throw new Error(`${table.url}: ${response.status} ${response.statusText}`);
	return response.arrayBuffer();
}

async function load(table) {
	const { schema, name } = table;
	const [bytes, connection] = await Promise.all([(table.bytes ??= file(table)), database()]);
	await connection.query(`CREATE SCHEMA IF NOT EXISTS "${schema}"; DROP TABLE IF EXISTS "${schema}"."${name}"`);
	// a copy: this one is handed over to the worker for good
	await connection.insertArrowFromIPCStream(new Uint8Array(bytes.slice(0)), { schema, name, create: true });
	table.bytes = undefined;
}

// What Evidence makes of a page's query `select * from gold.overview`: its columns, its length and its rows.
const WHOLE_TABLE =
	/^(?:--.*\n|\s)*(DESCRIBE\s+|SELECT COUNT\(\*\) as rowCount FROM \()?SELECT \* FROM \(\s*select \* from (\w+\.\w+)\s*\) AS "inputQuery-[^"]*"\)?\s*$/i;

/** What such a query finds, without the database; undefined for any other query. */
async function wholeTable(sql) {
	const [, asked = '', name] = sql.match(WHOLE_TABLE) ?? [];
	const table = tables.get(name);
	if (!table) return;
	const { fields, rows } = await (table.rows ??= (table.bytes ??= file(table)).then(read));
	if (asked.startsWith('DESCRIBE')) return fields.map(({ name, type }) => ({ column_name: name, column_type: type.duckdb }));
	if (asked) return [{ rowCount: rows.length }];
	const copy = rows.map((row) => ({ ...row }));
	const types = fields.map(({ name, type }) => ({ name, evidenceType: type.evidence, typeFidelity: 'precise' }));
	return Object.defineProperty(copy, '_evidenceColumnTypes', { enumerable: false, value: types });
}

const text = { duckdb: 'VARCHAR', evidence: 'string', value: (x) => x };
const number = { duckdb: 'DOUBLE', evidence: 'number', value: Number };
const TYPES = {
	[Type.Int]: { ...number, duckdb: 'BIGINT' },
	[Type.Float]: number,
	[Type.Bool]: { duckdb: 'BOOLEAN', evidence: 'boolean', value: (x) => x },
	[Type.Date]: { duckdb: 'DATE', evidence: 'date', value: (x) => new Date(x) },
	[Type.Timestamp]: { duckdb: 'TIMESTAMP', evidence: 'date', value: (x) => new Date(x) }
};

function read(bytes) {
	const table = tableFromIPC(new Uint8Array(bytes));
	const fields = table.schema.fields.map(({ name, type }) => ({ name, type: TYPES[type.typeId] ?? text }));
	const rows = Array.from(table, (row) =>
		Object.fromEntries(fields.map(({ name, type }) => [name, row[name] == null ? null : type.value(row[name])]))
	);
	return { fields, rows };
}

/**
 * Run a query, after the tables that it names have arrived.
 * @param {string} sql
 * @returns {Promise<Record<string, unknown>[]>}
 */
export async function query(sql) {
	await knowing;
	const whole = await wholeTable(sql);
	if (whole) return whole;
	const named = [...new Set(sql.match(/\w+\.\w+/g))].map((name) => tables.get(name)).filter(Boolean);
	await Promise.all(named.map((table) => (table.arrival ??= load(table))));
	return arrowTableToJSON(await (await database()).query(sql));
}

export async function emptyDbFs() {}
