// Evidence merges this into its own SvelteKit configuration.
import adapter from '@sveltejs/adapter-static';
import path from 'path';

const project = process.cwd().split('.evidence')[0];

export default {
	kit: {
		// One page that asks for its data when it is opened: new data needs no new build. See docs/decisions/0001-evidence.md.
		adapter: adapter({ pages: './build', fallback: 'index.html', strict: false }),
		alias: {
			// Evidence's own client downloads DuckDB's Parquet extension from the internet.
			'@evidence-dev/universal-sql/client-duckdb': path.join(project, 'duckdb-client.js'),
			'@steeze-ui/simple-icons': path.join(project, 'icons.js')
		}
	}
};
