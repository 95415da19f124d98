// Stands in for @evidence-dev/universal-sql/client-duckdb, with the same exports. Evidence's reads Parquet files, for which
// DuckDB-wasm downloads an extension from the internet; this one reads Arrow files, for which it needs none, and fetches a
// table when a query first names it.
// not among the package's exports, hence by its place
import { arrowTableToJSON } from './node_modules/@evidence-dev/universal-sql/src/client-duckdb/both.js';

export { tableFromIPC } from 'apache-arrow';
export { arrowTableToJSON };

/** @type {Promise<import('@duckdb/duckdb-wasm').AsyncDuckDBConnection> | undefined} */
let connecting;

/** What the site's tables are called in a query, with where they come from and their arrival, once somebody asked. */
/** @type {Map<string, {schema: string, name: string, url: string, arrival?: Promise<void>}>} */
const tables = new Map();
let known;
const knowing = new Promise((resolve) => (known = resolve));

// pages are made in the browser; Node, which loads this file too, has nothing to ask
const isBrowser = typeof window !== 'undefined';

async function connect() {
	if (!isBrowser) return;
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

/** Start the database, once. */
export async function initDB() {
	await (connecting ??= connect());
}

/**
 * Tell which tables there are.
 * @param {Record<string, string[]>} urls the addresses of the Arrow files of each source
 * @param {{addBasePath?: (path: string) => string}} [options]
 */
export async function setParquetURLs(urls, { addBasePath = (x) => x } = {}) {
	const connection = await (connecting ??= connect());
	if (!connection) return;
	for (const [schema, files] of Object.entries(urls)) {
		await connection.query(`CREATE SCHEMA IF NOT EXISTS "${schema}"`);
		for (const file of files) {
			const name = file.split('/').at(-1).replace(/\.arrow$/, '');
			const url = addBasePath('/' + file.replace(/^\/?(static\/)?/, ''));
			if (tables.get(name)?.url !== url) tables.set(name, { schema, name, url });
		}
	}
	known();
}

/** @param {string[]} schemas those in which a query's tables are looked for */
export async function updateSearchPath(schemas) {
	await (await (connecting ??= connect()))?.query(`PRAGMA search_path='${schemas.join(',')}'`);
}

async function load(table) {
	// the file and the database's start need not wait for each other
	const [response, connection] = await Promise.all([fetch(table.url), (connecting ??= connect())]);
	if (!response.ok) throw new Error(`${table.url}: ${response.status} ${response.statusText}`);
	const bytes = new Uint8Array(await response.arrayBuffer());
	await connection.query(`DROP TABLE IF EXISTS "${table.schema}"."${table.name}"`);
	await connection.insertArrowFromIPCStream(bytes, { schema: table.schema, name: table.name, create: true });
}

/**
 * Run a query, after the tables that it names have arrived.
 * @param {string} sql
 * @returns {Promise<Record<string, unknown>[]>}
 */
export async function query(sql) {
	await knowing;
	const words = new Set(sql.match(/\w+/g));
	await Promise.all([...tables.values()].filter(({ name }) => words.has(name)).map((table) => (table.arrival ??= load(table))));
	return arrowTableToJSON(await (await connecting).query(sql));
}

export async function emptyDbFs() {}
