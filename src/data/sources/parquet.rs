//! Parquet, row by row. Only the columns that are used are read, and of these a page at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::{ReaderIter, TreeBuilder};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type};

use super::rows::{Format, Place, Row, Rows, Wanted};
use super::value::{FRACTION, Value};
use super::{Source, Text};
use crate::data::source_error::SourceError;
use crate::foreign;

/// Parquet.
pub static SOURCE: Source = Source {
    name: "parquet",
    title: "parquet",
    unit: "documents",
    text: Text::Files(Format {
        endings: &["parquet"],
        fields: None,
        keys: &[],
        read,
    }),
};

fn read(path: &Path, wanted: &Wanted) -> Result<Rows, SourceError> {
    let unreadable = |message: String| SourceError::Read {
        path: path.to_owned(),
        message,
    };
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let opened = foreign::call(|| -> Result<_, ParquetError> {
        let reader = SerializedFileReader::new(file)?;
        let schema = projected(
            reader
                .metadata()
                .file_metadata()
                .schema_descr()
                .root_schema(),
            wanted,
        )?;
        Ok((reader, schema))
    });
    let opened = opened.and_then(|opened| opened.map_err(|error| error.to_string()));
    let (reader, schema) = opened
        .map_err(|message| unreadable(format!("not a parquet file, or damaged ({message})")))?;
    refuse_compression(&reader, &schema).map_err(unreadable)?;
    Ok(Box::new(Groups {
        path: path.to_owned(),
        reader,
        schema,
        group: 0,
        row: 0,
        rows: None,
        ended: false,
    }))
}

/// The columns that are used. Where one is missing all columns, so that messages can name them.
fn projected(root: &Type, wanted: &Wanted) -> Result<SchemaDescPtr, ParquetError> {
    let named = |name: &str| root.get_fields().iter().find(|field| field.name() == name);
    let column = |path: &str| {
        let first = path.split('.').next().unwrap_or(path);
        named(path)
            .or_else(|| named(first))
            .map(|field| field.name())
    };
    let columns: Option<Vec<&str>> = wanted.fields.iter().map(|path| column(path)).collect();
    let fields = root.get_fields().iter().filter(|field| {
        let columns = columns.as_ref();
        columns.is_none_or(|columns| columns.contains(&field.name()))
    });
    let projected = Type::group_type_builder(root.name()).with_fields(fields.cloned().collect());
    Ok(Arc::new(SchemaDescriptor::new(Arc::new(
        projected.build()?,
    ))))
}

/// Refuses a column that is compressed in a way that this program cannot read.
fn refuse_compression(
    reader: &SerializedFileReader<File>,
    schema: &SchemaDescriptor,
) -> Result<(), String> {
    let used = |name: &str| {
        schema
            .root_schema()
            .get_fields()
            .iter()
            .any(|field| field.name() == name)
    };
    let columns = reader
        .metadata()
        .row_groups()
        .iter()
        .flat_map(|group| group.columns());
    for column in columns.filter(|column| {
        column
            .column_path()
            .parts()
            .first()
            .is_some_and(|name| used(name))
    }) {
        let by = match column.compression() {
            Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::GZIP(_) => continue,
            Compression::ZSTD(_) if cfg!(feature = "parquet-zstd") => continue,
            Compression::ZSTD(_) => {
                return Err(format!(
                    "the column `{}` is compressed by Zstandard, which this build does not read: build with `cargo build --release --features parquet-zstd` (it needs a C compiler), or write the file with snappy",
                    column.column_path()
                ));
            }
            other => other,
        };
        return Err(format!(
            "the column `{}` is compressed by {by}, which is not supported: write the file with snappy",
            column.column_path()
        ));
    }
    Ok(())
}

/// The rows of a file, row group by row group.
struct Groups {
    path: PathBuf,
    reader: SerializedFileReader<File>,
    schema: SchemaDescPtr,
    /// The row group at hand, counted from 1, and the row in it.
    group: usize,
    row: usize,
    rows: Option<ReaderIter>,
    ended: bool,
}

impl Groups {
    fn next_row(&mut self) -> Result<Option<Row>, ParquetError> {
        loop {
            if let Some(rows) = &mut self.rows {
                self.row += 1;
                if let Some(row) = rows.next() {
                    let fields = Field::Group(row?);
                    return Ok(Some(Row {
                        place: self.place(),
                        fields: value(fields, Some(self.schema.root_schema())),
                    }));
                }
            }
            if self.group == self.reader.num_row_groups() {
                return Ok(None);
            }
            let group = self.reader.get_row_group(self.group)?;
            (self.group, self.row) = (self.group + 1, 0);
            self.rows = Some(TreeBuilder::new().as_iter(self.schema.clone(), &*group)?);
        }
    }

    fn place(&self) -> Place {
        Place::Row {
            group: self.group,
            row: self.row,
        }
    }
}

impl Iterator for Groups {
    type Item = Result<Row, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let row = foreign::call(|| self.next_row());
        let row = row.and_then(|row| row.map_err(|error| error.to_string()));
        let row = row.map_err(|message| {
            let message = format!("damaged ({message})");
            self.place().wrong(&self.path, message)
        });
        let row = row.transpose();
        self.ended = !matches!(row, Some(Ok(_)));
        row
    }
}

/// A field as a value. `of` is its type, where that is known.
fn value(field: Field, of: Option<&Type>) -> Value {
    if let Some(kind) = of.and_then(no_text) {
        return match field {
            Field::Null => Value::Null,
            _ => Value::Other(kind),
        };
    }
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => Value::Text(value.to_string()),
        Field::Byte(value) => Value::Text(value.to_string()),
        Field::Short(value) => Value::Text(value.to_string()),
        Field::Int(value) => Value::Text(value.to_string()),
        Field::Long(value) => Value::Text(value.to_string()),
        Field::UByte(value) => Value::Text(value.to_string()),
        Field::UShort(value) => Value::Text(value.to_string()),
        Field::UInt(value) => Value::Text(value.to_string()),
        Field::ULong(value) => Value::Text(value.to_string()),
        Field::Float16(_) | Field::Float(_) | Field::Double(_) | Field::Decimal(_) => {
            Value::Other(FRACTION)
        }
        Field::Str(text) => Value::Text(text),
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => Value::Other("bytes that are not UTF-8"),
        },
        Field::Date(_)
        | Field::TimeMillis(_)
        | Field::TimeMicros(_)
        | Field::TimestampMillis(_)
        | Field::TimestampMicros(_) => Value::Other("a date or a time"),
        Field::Group(row) => {
            let type_of = |name: &str| {
                let fields = of.filter(|of| of.is_group())?.get_fields();
                fields.iter().find(|field| field.name() == name)
            };
            let columns = row.into_columns().into_iter().map(|(name, field)| {
                let field = value(field, type_of(&name).map(|of| &**of));
                (name, field)
            });
            Value::Table(columns.collect())
        }
        Field::ListInternal(list) => {
            let elements = list.elements().iter();
            Value::List(elements.map(|field| value(field.clone(), None)).collect())
        }
        Field::MapInternal(map) => {
            let mut table = BTreeMap::new();
            for (key, field) in map.entries() {
                let Field::Str(key) = key else {
                    return Value::Other("a map whose keys are no texts");
                };
                if table
                    .insert(key.clone(), value(field.clone(), None))
                    .is_some()
                {
                    return Value::Other("a map with a key that stands twice");
                }
            }
            Value::Table(table)
        }
    }
}

/// What a type is that is no text, although the library may give a number of it.
fn no_text(of: &Type) -> Option<&'static str> {
    match of.get_basic_info().logical_type_ref()? {
        LogicalType::Timestamp(_) | LogicalType::Time(_) | LogicalType::Date => {
            Some("a date or a time")
        }
        LogicalType::Decimal(_) => Some(FRACTION),
        LogicalType::Uuid => Some("a UUID"),
        _ => None,
    }
}
