using System.Globalization;
using System.Text;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Prints verdicts as a table: a row for each bitmap, a column for each image. Names are escaped.</summary>
internal sealed class VerdictTable(ToolWriter output)
{
    private const string Legend = "+ recording   o disabled   ! in-use   . absent";
    private const int MaxNameWidth = 40;

    public void Write(ImageChain chain, IReadOnlyList<BitmapVerdict> verdicts)
    {
        WriteLayers(chain.Layers);
        output.Write("\n");
        if (verdicts.Count == 0)
        {
            output.WriteLine(chain.OpenElsewhere is { } open
                ? $"No image of the chain holds a bitmap on disk. {open} is open for writing in another process, "
                    + $"which may keep bitmaps in memory until it closes the image: "
                    + "ask that process, or look again when it has closed the image."
                : "No image of the chain holds a bitmap.");
            return;
        }

        int indexWidth = Math.Max(Text(chain.Layers.Count - 1).Length, 1);
        int nameWidth = Math.Clamp(verdicts.Max(verdict => ImageText.Escape(verdict.Name).Length), "BITMAP".Length, MaxNameWidth);
        WriteRow("BITMAP", nameWidth, chain.Layers.Select(static layer => Text(layer.Index)), indexWidth, "VERDICT");
        foreach (BitmapVerdict verdict in verdicts)
        {
            WriteRow(
                ImageText.Escape(verdict.Name), nameWidth, chain.Layers.Select(layer => Cell(layer, verdict.Name)), indexWidth,
                Summary(verdict));
        }

        output.WriteLine($"\n{Legend}");
        foreach (BitmapVerdict verdict in verdicts)
        {
            VerdictText.Write(verdict, output);
        }
    }

    private void WriteLayers(IReadOnlyList<ChainLayer> layers)
    {
        int pathWidth = layers.Max(layer => ImageText.Escape(layer.Path).Length);
        foreach (ChainLayer layer in layers)
        {
            string note = layer.IsOpenForWritingElsewhere ? "   open for writing in another process"
                : layer.HasIgnoredBitmaps ? "   has bitmaps that are ignored: a program without bitmap support wrote to it"
                : "";
            output.WriteMessage(
                $"image {layer.Index,2}  {ImageText.Escape(layer.Path).PadRight(pathWidth)}  {layer.Format,-5}  "
                + $"{SizeText.Of((ulong)layer.VirtualSizeBytes)}{note}");
        }
    }

    private void WriteRow(string name, int nameWidth, IEnumerable<string> cells, int cellWidth, string verdict)
    {
        var row = new StringBuilder(name.PadRight(nameWidth));
        foreach (string cell in cells)
        {
            row.Append("  ").Append(cell.PadLeft(cellWidth));
        }

        output.WriteLine(row.Append("  ").Append(verdict).ToString());
    }

    private static string Summary(BitmapVerdict verdict) =>
        verdict.SizesDiffer ? "valid, not for QEMU: sizes differ"
            : verdict.IsValid ? "valid"
            : string.Create(CultureInfo.InvariantCulture, $"NOT VALID: {EnumText.Of(verdict.Reason!.Value)} in image {verdict.ImageIndex}");

    private static string Cell(ChainLayer layer, string name)
    {
        if (layer is not Qcow2Layer { Image: var image } || !image.Bitmaps.TryGet(name, out BitmapInfo? bitmap))
        {
            return ".";
        }

        return bitmap.State switch
        {
            BitmapState.Recording => "+",
            BitmapState.Disabled => "o",
            _ => "!",
        };
    }

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
}
