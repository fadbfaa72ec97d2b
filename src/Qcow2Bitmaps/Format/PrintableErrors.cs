namespace Qcow2Bitmaps.Format;

/// <summary>The system's exceptions with messages that are printable whatever the names in them hold.</summary>
internal static class PrintableErrors
{
    extension(IOException)
    {
#pragma warning disable RS0030 // Here the message is escaped.
        public static IOException Of(PrintableMessage message, Exception? inner = null) => new(message, inner);

        public static IOException Of(PrintableMessage message, int error) => new(message, error);
#pragma warning restore RS0030
    }
}
