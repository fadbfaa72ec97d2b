using System.Globalization;
using System.Text.Unicode;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Prints extents as qemu-img map does: adjacent extents that look alike are merged.</summary>
internal sealed class MapOutput(ImageChain chain, ToolWriter output, bool isJson)
{
    // Words of about 100 bytes, and five numbers.
    private const int MaxJsonBytes = 256;

    private readonly bool[] _isEncrypted = [
        .. chain.Layers.Select(static layer => (layer as Qcow2Layer)?.Image.Encryption is not (null or EncryptionMethod.None))];
    private DiskExtent? _last;
    private bool _hasAny;

    /// <summary>Writes what comes before the extents.</summary>
    public void Start() => output.Write(isJson ? "[" : "Offset          Length          Mapped to       File\n");

    /// <summary>Adds the next extent.</summary>
    /// <exception cref="IOException">Data of this kind cannot be shown for people.</exception>
    public void Add(DiskExtent extent)
    {
        if (_last is { } last && LooksAlike(last, extent))
        {
            _last = last with { LengthBytes = last.LengthBytes + extent.LengthBytes };
            return;
        }

        WriteLast();
        _last = extent;
    }

    /// <summary>Writes the remaining extents and the end.</summary>
    /// <exception cref="IOException">Data of this kind cannot be shown for people.</exception>
    public void Complete()
    {
        WriteLast();
        if (isJson)
        {
            // qemu-img also prints an entry for an empty disk.
            output.Write(
                _hasAny ? "]\n" : "{ \"start\": 0, \"length\": 0, \"depth\": 0, \"present\": false, \"zero\": false, \"data\": false}]\n");
        }
    }

    private bool LooksAlike(DiskExtent a, DiskExtent b) => a.Depth == b.Depth
        && IsPresent(a) == IsPresent(b)
        && a.IsZero == b.IsZero
        && IsData(a) == IsData(b)
        && (OffsetOf(a) is { } offset ? offset + a.LengthBytes == OffsetOf(b) : OffsetOf(b) is null);

    /// <summary>The offset of bytes that can be read unchanged; null for others.</summary>
    private long? OffsetOf(DiskExtent extent) =>
        extent.Kind == ExtentKind.Compressed || _isEncrypted[extent.Depth] ? null : extent.HostOffset;

    private static bool IsPresent(DiskExtent extent) => extent.Kind != ExtentKind.Unallocated;

    private static bool IsData(DiskExtent extent) => extent.Kind is ExtentKind.Data or ExtentKind.Compressed;

    private void WriteLast()
    {
        if (_last is not { } extent)
        {
            return;
        }

        _last = null;
        long? offset = OffsetOf(extent);
        if (isJson)
        {
            Span<byte> place = output.Take(MaxJsonBytes);
            _ = Utf8.TryWrite(
                place,
                CultureInfo.InvariantCulture,
                $"{(_hasAny ? ",\n" : "")}{{ \"start\": {extent.OffsetBytes}, \"length\": {extent.LengthBytes}, \"depth\": {extent.Depth}, "
                + $"\"present\": {Word(IsPresent(extent))}, \"zero\": {Word(extent.IsZero)}, \"data\": {Word(IsData(extent))}",
                out int length);
            int end = 0;
            _ = offset is { } at
                ? Utf8.TryWrite(place[length..], CultureInfo.InvariantCulture, $", \"offset\": {at}}}", out end)
                : Utf8.TryWrite(place[length..], $"}}", out end);
            output.Advance(length + end);
            _hasAny = true;
        }
        else if (!extent.IsZero)
        {
            if (offset is not { } mapped)
            {
                throw IOException.Of("File contains external, encrypted or compressed clusters.");
            }

            ChainLayer layer = chain.Layers[extent.Depth];
            string file = layer is Qcow2Layer { Image: { Header.HasExternalDataFile: true, DataFile: { } dataFile } }
                ? dataFile
                : layer.Path;
            output.WriteLine($"{Hex(extent.OffsetBytes),-16}{Hex(extent.LengthBytes),-16}{Hex(mapped),-16}{output.Foreign(file)}");
        }
    }

    private static string Hex(long value) => value == 0 ? "0" : string.Create(CultureInfo.InvariantCulture, $"0x{value:x}");

    private static string Word(bool value) => value ? "true" : "false";
}
