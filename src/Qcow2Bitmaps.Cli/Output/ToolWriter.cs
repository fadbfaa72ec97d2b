using System.Buffers;
using System.Text;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Standard output: text that may hold names from inside images, byte for byte, but harmless on a terminal.</summary>
internal sealed class ToolWriter(Stream stream, bool isTerminal) : IDisposable
{
    private readonly BufferedStream _buffer = new(stream, 1 << 16);

    /// <summary>Writes text of our own.</summary>
    public void Write(string text)
    {
        Span<byte> ascii = stackalloc byte[256];
        if (text.Length <= ascii.Length && Ascii.FromUtf16(text, ascii, out int written) == OperationStatus.Done)
        {
            _buffer.Write(ascii[..written]);
        }
        else
        {
            _buffer.Write(ImageText.Encode(text));
        }
    }

    public void WriteLine(string text)
    {
        Write(text);
        Write("\n");
    }

    /// <summary>Text from inside an image or a path: as it is, as qemu-img prints it, but escaped on a terminal.</summary>
    public string Foreign(string text) => isTerminal ? PrintableText.Escape(text) : text;

    public void Flush() => _buffer.Flush();

    public void Dispose() => _buffer.Dispose();
}
